"""What a job has come to, and how an attempt that ended is answered: another one after a wait, or the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from mora_jobs.api import Exit, ExitClass, Phase, retries

from ..times import text_of, time_of
from .conditions import Finding, clip
from .rayjobs import Failure, FailureClass, RayJob
from .view import View

RETRY_SECONDS = 10.0  # before the second attempt; the wait doubles
SHORT_SECONDS = 600.0  # an attempt that ran longer got somewhere: the wait begins anew after it
FINAL = frozenset({"ValidationFailed"})  # KubeRay refuses what we made: it would do so again
BUDGETS = {"failed": "backoffLimit", "infraRestarts": "failurePolicy.maxInfraRestarts"}
CLASSES = {
    FailureClass.INFRA: ExitClass.INFRA,
    FailureClass.EXTERNAL_DELETION: ExitClass.INFRA,
    FailureClass.APP: ExitClass.APP,
    FailureClass.USER_ERROR: ExitClass.USER_ERROR,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` and `message` serve every condition that has none of its own; `again` is when to look again, in seconds."""

    phase: Phase
    reason: str
    message: str = ""
    reconciling: bool = False
    stalled: bool = False
    inputs: Finding | None = None
    cluster: Finding | None = None
    degraded: Finding | None = None
    start: int | None = None
    stop: tuple[RayJob, ...] = ()
    keep: int | None = None
    failure: Failure | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    again: float | None = None


def ended(view: View, failure: Failure) -> Verdict:
    """The newest attempt has ended without success, and its record is not written yet.

    Only the record is written now. Its objects are deleted when it stands: an operator that dies in between must not
    find an attempt gone that nobody has counted.
    """
    if failure.type is FailureClass.INFRA and (pod := view.observed.out_of_memory):
        # To Ray and KubeRay the pod was lost. Every attempt would lose it.
        what = f"a container of {pod} was killed at its memory limit: raise its limit, or use less; "
        failure = Failure(FailureClass.APP, "OutOfMemory", what + failure.message)
    if failure.reason == "Stopped":  # by a job that is no longer to be suspended, or a pod that was asked to go
        return _retry(view, failure, {}, 0.0)
    attempts = view.attempts
    decision = retries.decide(view.job.spec, Exit(class_=_class(failure), reason=failure.reason), attempts)
    counters = {} if decision.counter is None else {decision.counter: attempts[decision.counter] + 1}
    if decision.again and failure.reason not in FINAL:
        return _retry(view, failure, counters, delay_after([past_of(view, failure), *view.history]))
    left = (
        f" (spec.{BUDGETS[decision.counter]} is used up)"
        if decision.counter and decision.spent and view.current > 1
        else ""
    )
    return Verdict(
        Phase.FAILED, failure.reason, (failure.message or failure.reason) + left, stalled=True, failure=failure,
        counters=counters,
    )  # fmt: skip


def waiting(view: View) -> Verdict:
    """The newest attempt is recorded: what is left of it goes, and when its wait is over the next one begins."""
    past = view.history[0]
    due = time_of(past["endTime"]) + timedelta(seconds=delay_after(view.history))
    message = _announced(past["index"], str(past.get("message") or past["reason"]), due)
    if view.rayjob is not None:
        stop = () if view.rayjob.deleting else (view.rayjob,)
        return Verdict(Phase.RETRYING, past["reason"], message, reconciling=True, stop=stop)
    if view.now < due:
        again = (due - view.now).total_seconds()
        return Verdict(Phase.RETRYING, past["reason"], message, reconciling=True, again=again)
    return starting(view)


def starting(view: View) -> Verdict:
    """The next attempt begins."""
    index = view.current + 1
    message = f"creating {view.job.metadata.name}-a{index}"
    return Verdict(Phase.PROVISIONING, "CreatingCluster", message, reconciling=True, start=index)


def delay_after(history: Sequence[Mapping[str, Any]]) -> float:
    """Seconds from the end of the newest attempt of `history` to the next: they double with each short attempt in a row."""
    if history[0]["reason"] in ("Suspended", "Stopped"):
        return 0.0
    short = sum(1 for _ in takewhile(_was_short, history))
    return retries.delay_seconds(max(1, short), RETRY_SECONDS)


def _retry(view: View, failure: Failure, counters: Mapping[str, int], delay: float) -> Verdict:
    due = end_of(view) + timedelta(seconds=delay)
    message = _announced(view.current, failure.message or failure.reason, due)
    again = max(0.0, (due - view.now).total_seconds())
    return Verdict(
        Phase.RETRYING, failure.reason, message, reconciling=True, failure=failure, counters=counters, again=again
    )


def end_of(view: View) -> datetime:
    """When the newest attempt ended: KubeRay's word, or now."""
    return time_of(view.rayjob.end_time) if view.rayjob is not None and view.rayjob.end_time else view.now


def _announced(index: int, why: str, due: datetime) -> str:
    return f"attempt {index} ended: {why}; the next one begins at {text_of(due)}"


def past_of(view: View, failure: Failure) -> dict[str, Any]:
    """The newest attempt as it stands in status.attemptHistory."""
    end = end_of(view)
    past: dict[str, Any] = {"index": view.current, "reason": failure.reason, "class": failure.type.value}
    past |= {"message": clip(failure.message), "endTime": text_of(end), "lostSeconds": view.lost_seconds(end)}
    return past | ({"startTime": text_of(view.started)} if view.started is not None else {})


def _was_short(past: Mapping[str, Any]) -> bool:
    if "startTime" not in past:
        return False
    return (time_of(past["endTime"]) - time_of(past["startTime"])).total_seconds() < SHORT_SECONDS


def _class(failure: Failure) -> ExitClass:
    """Whose fault it counts as. A cluster that did not come up in time is the infrastructure's, a long attempt is not."""
    if failure.type is FailureClass.DEADLINE:
        return ExitClass.INFRA if failure.reason == "PreRunningDeadlineExceeded" else ExitClass.APP
    return CLASSES[failure.type]
