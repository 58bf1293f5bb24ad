"""The reconciler's part of status, from what a job has come to. Progress, metrics, results and outputs are the endpoint's."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mora_jobs.api import ConditionType, Phase
from mora_jobs.api.budget import STATUS_BYTES, size

from ..render.objects import gpu_count
from ..resources import attempt_name
from ..times import text_of
from . import queueing
from .conditions import Finding, merge, no, of_job, yes
from .rayjobs import RayJob
from .verdicts import Verdict, end_of, past_of
from .view import Observed, View

HISTORY_LIMIT = 10
CONDITION_BYTES = 1_536  # a condition with the longest message


def status_of(view: View, verdict: Verdict) -> dict[str, Any]:
    """All members that the reconciler writes."""
    status = view.observed.status
    attempt = verdict.start or view.current
    rayjob = view.rayjob if verdict.start is None else None
    finished = verdict.phase in (Phase.COMPLETE, Phase.FAILED)
    written = basics(view.observed, verdict, view.now)
    if attempt:
        written["attempts"] = dict(view.attempts) | {"current": attempt} | dict(verdict.counters)
        written["currentAttempt"] = _attempt(view, attempt, rayjob)
        written["gpus"] = gpu_count(view.job, view.observed.referred)
    if "startTime" not in status and (verdict.phase is Phase.RUNNING or finished):
        written["startTime"] = (rayjob.ran_at if rayjob else None) or text_of(view.now)
    if finished:
        written["completionTime"] = (rayjob.end_time if rayjob else None) or text_of(view.now)
    if rayjob is not None and rayjob.dashboard_url:
        url = rayjob.dashboard_url
        # Beside what the driver has left there: a member that differs is sent again and again.
        written["links"] = dict(status.get("links") or {}) | {"dashboardURL": url if "://" in url else f"http://{url}"}
    workload = view.observed.workload
    if workload is not None:
        written["queue"] = queueing.shown(workload)
    elif "queue" in status:
        written["queue"] = None
    if verdict.failure is not None:
        past = past_of(view, verdict.failure)
        written["attemptHistory"] = [past, *view.history][:HISTORY_LIMIT]
        written["usage"] = _usage(view, past["lostSeconds"])
    elif verdict.phase is Phase.COMPLETE:
        written["usage"] = _usage(view, 0)
    return fitted(view, written)


def fitted(view: View, written: dict[str, Any]) -> dict[str, Any]:
    """The members such that the whole status keeps within its size: old attempts go first, the newest record stays.

    What drivers have reported is kept in its own bounds by the endpoint, which cuts it before it is written.
    """
    present, kind = view.observed.status, ConditionType.TRUNCATED
    history = written.get("attemptHistory") or list(view.history)
    cut = history
    while len(cut) > 1 and size({**present, **written, "attemptHistory": cut}) > STATUS_BYTES - CONDITION_BYTES:
        cut = cut[:-1]
    if len(cut) < len(history):
        message = f"attempts before {cut[-1]['index']} were cut from attemptHistory"
        finding = yes(kind, "HistoryTruncated", message)
        rest = [each for each in written["conditions"] if each["type"] != kind]
        before = [each for each in written["conditions"] if each["type"] == kind]
        conditions = rest + merge(before, [finding], view.observed.generation, view.now)
        return written | {"attemptHistory": cut, "conditions": conditions}
    return written


def stalled(observed: Observed, now: datetime, reason: str, message: str) -> dict[str, Any]:
    """The status of a job that cannot be acted upon: its spec cannot be read, or its objects are refused."""
    return basics(observed, Verdict(Phase.STALLED, reason, message, stalled=True), now)


def basics(observed: Observed, verdict: Verdict, now: datetime) -> dict[str, Any]:
    """What every status has: the generation that was looked at, the phase, and the conditions."""
    present = observed.status.get("conditions", [])
    return {
        "observedGeneration": observed.generation,
        "phase": verdict.phase.value,
        "conditions": merge(present, findings(observed, verdict), observed.generation, now),
    }


def findings(observed: Observed, verdict: Verdict) -> list[Finding]:
    """All conditions, each with a definite status, so that a missing one never has to be guessed about."""
    reason = "InputsReady" if observed.references.direct else "NoReferences"
    stands = of_job(
        verdict.phase,
        verdict.reason,
        verdict.message,
        reconciling=verdict.reconciling,
        stalled=verdict.stalled,
        inputs=verdict.inputs or yes(ConditionType.INPUTS_READY, reason),
        cluster=verdict.cluster,
        quota=queueing.finding(observed.workload, observed.queue),
        degraded=verdict.degraded,
    )
    if any(each["type"] == ConditionType.TRUNCATED for each in observed.status.get("conditions", [])):
        return stands  # who cut something has said so
    return [*stands, no(ConditionType.TRUNCATED, "Complete")]


def seen_again(view: View) -> dict[str, Any] | None:
    """A finished job changes no more, but a changed generation was seen (else kstatus shows it in progress for ever)."""
    status, generation = view.observed.status, view.observed.generation
    if status.get("observedGeneration") == generation:
        return None
    conditions = [condition | {"observedGeneration": generation} for condition in status.get("conditions", [])]
    return {"observedGeneration": generation, "conditions": conditions}


def changes(status: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """The members that differ from what stands there: nothing is sent where nothing changed."""
    return {name: value for name, value in written.items() if status.get(name) != value}


def _attempt(view: View, index: int, rayjob: RayJob | None) -> dict[str, Any]:
    before = view.observed.status.get("currentAttempt") or {}
    if rayjob is None and before.get("index") == index:
        return dict(before)
    attempt: dict[str, Any] = {"index": index, "rayJobName": _name(view, index)}
    if rayjob is not None:
        known = {"rayClusterName": rayjob.cluster_name, "jobId": rayjob.job_id, "startTime": rayjob.created}
        attempt |= {name: value for name, value in known.items() if value}
    if before.get("index") != index:
        # A merge patch keeps what it does not name: the last attempt's cluster is not this one's.
        attempt |= {name: None for name in before if name not in attempt}
    return attempt


def _usage(view: View, wasted: int) -> dict[str, int]:
    """Time of all attempts that have ended, the newest included."""
    before = view.observed.status.get("usage") or {}
    gpus, seconds = gpu_count(view.job, view.observed.referred), round(view.seconds_until(end_of(view)))
    return {
        "activeSeconds": before.get("activeSeconds", 0) + seconds,
        "gpuSeconds": before.get("gpuSeconds", 0) + gpus * seconds,
        "wastedGpuSeconds": before.get("wastedGpuSeconds", 0) + gpus * wasted,
    }


def _name(view: View, index: int) -> str:
    return attempt_name(view.job.metadata.name, index)
