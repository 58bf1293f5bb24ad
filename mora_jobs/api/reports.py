"""What a driver's report sets in its job's status: the same in a cluster and in a workdir."""

from datetime import datetime
from typing import Any

from .align import AlignmentResult
from .base import Model
from .progress import ProgressReport
from .redact import one_line
from .rewrite import RewriteResult
from .rollout import RolloutResult

RESULTS: dict[str, type[Model]] = {
    "RolloutJob": RolloutResult,
    "RewriteJob": RewriteResult,
    "AlignmentJob": AlignmentResult,
}


def reported(report: ProgressReport, kind: str, attempt: int, now: datetime) -> dict[str, Any]:
    """The members of status that a report sets. Raises ValidationError for a result that is not this kind's."""
    fields: dict[str, Any] = {}
    if report.result is not None:
        fields |= RESULTS[kind].model_validate(report.result).to_dict()
    if report.trainer_status is not None:
        trainer = report.trainer_status.to_dict()
        metrics = trainer.pop("metrics", None)
        if metrics:
            fields["metrics"] = by_name(metrics)[:64]
        fields["progress"] = {"unit": "Steps", **trainer}
    if report.progress is not None:
        fields["progress"] = report.progress.to_dict()
    if "progress" in fields:
        # The time of arrival: clocks in pods are not to be trusted for ordering.
        fields["progress"]["lastUpdatedTime"] = timestamp(now)
    if report.metrics:
        fields["metrics"] = by_name([metric.to_dict() for metric in report.metrics])
    if report.checkpoint is not None:
        fields["checkpoint"] = report.checkpoint.to_dict()
    if report.outputs:
        fields["outputs"] = by_name([output.to_dict() for output in report.outputs])
    if report.links is not None:
        fields["links"] = report.links.to_dict()
    if report.exit is not None:
        fields["exit"] = {**report.exit.to_dict(), "message": one_line(report.exit.message), "attempt": attempt}
    return fields


def by_name(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items with each name once, the last one's: a list whose key is not unique is refused by the API server."""
    return list({item["name"]: item for item in items}.values())


def timestamp(time: datetime) -> str:
    """A time in UTC as Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
