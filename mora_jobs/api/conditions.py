"""Conditions as kstatus, Flux, Helm and `kubectl wait` read them.

All types are there from the first look at a job on. `Ready` is derived: it is True exactly when the job is neither
Reconciling nor Stalled, whatever else is true of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .redact import one_line
from .status import Condition, ConditionStatus, ConditionType, Phase


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said about one condition type; when it became so is added later, by `merge`."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str = ""


def yes(kind: ConditionType, reason: str, message: str = "") -> Finding:
    return Finding(kind, ConditionStatus.TRUE, reason, message)


def no(kind: ConditionType, reason: str, message: str = "") -> Finding:
    return Finding(kind, ConditionStatus.FALSE, reason, message)


def of_job(
    phase: Phase,
    reason: str,
    message: str = "",
    *,
    reconciling: bool = False,
    stalled: bool = False,
    inputs: Finding,
    cluster: Finding | None = None,
    quota: Finding | None = None,
    degraded: Finding | None = None,
) -> list[Finding]:
    """All conditions of a job, each with a definite status, so that a missing one never has to be guessed about."""

    def condition(kind: ConditionType, holds: bool) -> Finding:
        # Only what holds is explained: a line for each condition that does not would bury the one that matters.
        return yes(kind, reason, message) if holds else no(kind, reason)

    stands = [
        inputs,
        condition(ConditionType.RECONCILING, reconciling),
        condition(ConditionType.STALLED, stalled),
        quota or Finding(ConditionType.QUOTA_RESERVED, ConditionStatus.UNKNOWN, "NotQueued"),
        cluster or no(ConditionType.CLUSTER_READY, reason),
        degraded or no(ConditionType.DEGRADED, reason),
        condition(ConditionType.SUSPENDED, phase is Phase.SUSPENDED),
        condition(ConditionType.COMPLETE, phase is Phase.COMPLETE),
        condition(ConditionType.FAILED, phase is Phase.FAILED),
    ]
    return [*stands, ready(stands, message)]


def ready(findings: Iterable[Finding], message: str = "") -> Finding:
    """Ready, with the reason of what stands against it, or else of what the job has come to (`message`)."""
    by_type = {finding.type: finding for finding in findings}
    for kind in (ConditionType.STALLED, ConditionType.RECONCILING):
        obstacle = by_type[kind]
        if obstacle.status is ConditionStatus.TRUE:
            return no(ConditionType.READY, obstacle.reason, obstacle.message)
    progressing = by_type[ConditionType.RECONCILING]
    return yes(ConditionType.READY, progressing.reason, message)


def merge(
    present: Iterable[Mapping[str, Any]], findings: Iterable[Finding], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The conditions to write: the findings, each with the time at which its status last changed.

    Types that are present but not among the findings were written by somebody else and are kept as they are.
    """
    before = {condition["type"]: condition for condition in present}
    merged = []
    for finding in findings:
        old = before.pop(finding.type.value, None)
        unchanged = old is not None and old["status"] == finding.status.value
        condition = Condition(
            type=finding.type.value,
            status=finding.status,
            observed_generation=generation,
            last_transition_time=now.replace(microsecond=0),
            reason=finding.reason,
            message=one_line(finding.message),
        ).to_dict()
        if unchanged and old is not None:
            condition["lastTransitionTime"] = old["lastTransitionTime"]
        merged.append(condition)
    return merged + [dict(condition) for condition in before.values()]


def is_true(status: Mapping[str, Any], kind: ConditionType) -> bool:
    return any(
        condition["type"] == kind.value and condition["status"] == "True" for condition in status.get("conditions", [])
    )
