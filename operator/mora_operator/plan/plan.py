"""What to do about a job, decided from what is seen now, whatever happened before: plan(job, observed, now) → Plan.

Pure: no clock, no API server, no memory. An ordered chain of checks looks at the same view; the first that has
something to say decides. Each tells what the job has come to (a Verdict), from which the one status write is derived.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mora_jobs.api import ConditionType, Job, Phase

from ..settings import Settings
from ..times import text_of, time_of
from .blockers import blockers
from .conditions import no, yes
from .rayjobs import Failure, FailureClass, RayJob, Stage, failure
from .status import seen_again, status_of
from .verdicts import Verdict, ended, starting, waiting
from .view import Observed, View, is_finished

HEARTBEAT_SECONDS = 180.0  # drivers report every 15 seconds, whatever they do
PRE_RUNNING_SLACK = 30.0  # KubeRay 1.6 and newer see to this deadline themselves, and are given the time for it


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order: create, delete, write the status, look again."""

    start: int | None = None  # index of the attempt whose objects are to exist
    stop: tuple[RayJob, ...] = ()  # RayJobs to delete
    keep: int | None = None  # index of a live attempt: its pods need a ConfigMap that is up to date
    status: dict[str, Any] | None = None  # the reconciler's part of status, as it should be
    again: float | None = None  # seconds after which to look again, if nothing happens
    expire: bool = False  # the job itself is to be deleted: its time after the end is over


def plan(job: Job, observed: Observed, settings: Settings, now: datetime) -> Plan:
    """Decide about one job. The same arguments always give the same plan."""
    if observed.deleting:
        return Plan()
    view = View(job, observed, settings, now)
    if is_finished(observed.status):
        return finished(view)
    for check in CHECKS:
        verdict = check(view)
        if verdict is not None:
            times = [time for time in (verdict.again, time_left(view)) if time is not None]
            again = min(times, default=None) if verdict.phase not in (Phase.COMPLETE, Phase.FAILED) else None
            return Plan(verdict.start, verdict.stop, verdict.keep, status_of(view, verdict), again)
    raise AssertionError("the last check always decides")


def finished(view: View) -> Plan:
    """A finished job changes no more; it goes when spec.ttlSecondsAfterFinished is over."""
    # What still runs was ended by a deadline of ours. What KubeRay has refused, it would look at every 3 seconds for ever.
    ends = [
        each for each in view.observed.rayjobs if each.refused or each.stage not in (Stage.SUCCEEDED, Stage.FAILED)
    ]
    stop = tuple(each for each in ends if not each.deleting)
    keep_for, ended_at = view.job.spec.ttl_seconds_after_finished, view.observed.status.get("completionTime")
    if keep_for is None or ended_at is None:
        return Plan(status=seen_again(view), stop=stop)
    left = (time_of(ended_at) + timedelta(seconds=keep_for) - view.now).total_seconds()
    return Plan(status=seen_again(view), stop=stop, again=left) if left > 0 else Plan(expire=True)


# ---------------------------------------------------------------- checks, in order
def check_manifest(view: View) -> Verdict | None:
    """What the schema cannot see: the job cannot run as it stands, and waits until somebody changes something."""
    if view.rayjob is not None:
        return None  # it runs: a setting that was changed since does not stop it
    for reason, message in blockers(view.job, view.settings, view.observed.referred):
        return Verdict(Phase.STALLED, reason, message, stalled=True)
    return None


def check_suspension(view: View) -> Verdict | None:
    """spec.suspend: the driver is asked to save its work (by the replies to its reports), then the cluster goes."""
    if not view.job.spec.suspend:
        return None
    rayjob = view.rayjob
    if rayjob is None:
        return Verdict(Phase.SUSPENDED, "Suspended", "suspended by spec.suspend")
    stopped = view.exit is not None and view.exit.reason == "Stopped"
    if rayjob.stage is Stage.SUCCEEDED or (rayjob.stage is Stage.FAILED and not stopped and not view.recorded):
        return None  # too late to suspend: how it ended is told first
    left = (view.since("Suspending") - view.now).total_seconds() + view.settings.suspend_grace_seconds
    if rayjob.stage is Stage.RUNNING and not (stopped or view.recorded or rayjob.deleting) and left > 0:
        message = f"{rayjob.name} saves its work"
        return Verdict(Phase.SUSPENDING, "Suspending", message, reconciling=True, keep=rayjob.attempt, again=left)
    message = f"stopping {rayjob.name}"
    if not view.recorded:
        record = Failure(FailureClass.INFRA, "Suspended", "suspended by spec.suspend")
        return Verdict(Phase.SUSPENDING, "Suspending", message, reconciling=True, failure=record)
    stop = () if rayjob.deleting else (rayjob,)
    return Verdict(Phase.SUSPENDING, "Suspending", message, reconciling=True, stop=stop)


def check_references(view: View) -> Verdict | None:
    """Jobs that this one builds on must be complete before it starts; once it has started, they are not asked again."""
    if view.current:
        return None
    references = view.observed.references
    if references.cycle:
        message = "the job refers to itself through " + ", ".join(str(key) for key in references.direct)
        return _waits(Verdict(Phase.STALLED, "ReferenceCycle", message, stalled=True))
    if failed := references.failed():
        return _waits(Verdict(Phase.STALLED, "ReferenceFailed", f"{failed[0]} has failed", stalled=True))
    if missing := references.missing():
        return _waits(Verdict(Phase.WAITING, "ReferenceNotFound", f"{missing[0]} does not exist", reconciling=True))
    if unfinished := references.unfinished():
        # Ready, not Reconciling: a chain of long jobs must not keep `helm --wait` or Flux hanging.
        return _waits(Verdict(Phase.WAITING, "WaitingForInputs", f"waits for {unfinished[0]} to complete"))
    return None


def check_deadline(view: View) -> Verdict | None:
    """spec.activeDeadlineSeconds over all attempts. KubeRay knows of single attempts only."""
    left = time_left(view)
    if left is None or left > 0 or (view.rayjob is not None and view.rayjob.stage is Stage.SUCCEEDED):
        return None
    message = f"spec.activeDeadlineSeconds ({view.job.spec.active_deadline_seconds}) is over"
    over = None if view.recorded else Failure(FailureClass.DEADLINE, "DeadlineExceeded", message)
    return Verdict(Phase.FAILED, "DeadlineExceeded", message, stalled=True, failure=over)


def check_start(view: View) -> Verdict | None:
    """Begin the first attempt, or the next one after the last was recorded, suspended, or taken away from outside."""
    if view.recorded:
        return waiting(view)
    if view.rayjob is not None:
        return None
    if not view.current or view.observed.status.get("phase") in (Phase.SUSPENDED, Phase.SUSPENDING):
        return starting(view)
    message = f"{view.name} was deleted from outside"
    return ended(view, Failure(FailureClass.EXTERNAL_DELETION, "RayJobDeleted", message))


def check_attempt(view: View) -> Verdict:
    """There is a RayJob: show what it has come to."""
    rayjob = view.rayjob
    assert rayjob is not None, "check_start has seen to it"
    if rayjob.deleting and view.alive():
        return Verdict(Phase.RETRYING, "AttemptDeleted", f"{rayjob.name} is being deleted", reconciling=True)
    match rayjob.stage:
        case Stage.QUEUED:
            return _queued(view, rayjob)
        case Stage.PROVISIONING:
            return _provisioning(view, rayjob)
        case Stage.RUNNING:
            return _running(view, rayjob)
        case Stage.SUCCEEDED:
            reason = view.exit.reason if view.exit is not None else "Complete"
            message = view.exit.message if view.exit is not None else ""
            return Verdict(Phase.COMPLETE, reason, message or f"{rayjob.name} succeeded")
        case Stage.FAILED:
            return ended(view, failure(rayjob, view.exit))


CHECKS: tuple[Callable[[View], Verdict | None], ...] = (
    check_manifest,
    check_suspension,
    check_references,
    check_deadline,
    check_start,
    check_attempt,
)


def time_left(view: View) -> float | None:
    """Seconds of spec.activeDeadlineSeconds that are left; None without one, and while nothing runs it stands still."""
    limit = view.job.spec.active_deadline_seconds
    return None if limit is None or not view.current else limit - view.active_seconds()


def _queued(view: View, rayjob: RayJob) -> Verdict:
    """Suspended by its queue. That is Kueue's to change, whether the job named the queue or an administrator did."""
    workload = view.observed.workload
    if workload is not None:
        reason, message = "WaitingForQuota", workload.message or f"{workload.name} waits in queue {workload.queue}"
    elif view.observed.queue:
        reason, message = "WaitingForQuota", f"{rayjob.name} waits for Kueue to see it"
    else:
        reason, message = "ManagedExternally", f"{rayjob.name} was suspended, and not by this operator"
    return Verdict(Phase.QUEUED, reason, message, reconciling=True, keep=rayjob.attempt)


def _provisioning(view: View, rayjob: RayJob) -> Verdict:
    limit, again = view.job.spec.pre_running_deadline_seconds, None
    if limit is not None:
        again = limit + PRE_RUNNING_SLACK - (view.now - time_of(rayjob.begun_at or rayjob.created)).total_seconds()
        if again <= 0:
            message = f"{rayjob.name} did not run within spec.preRunningDeadlineSeconds ({limit})"
            return ended(view, Failure(FailureClass.DEADLINE, "PreRunningDeadlineExceeded", message))
    obstacle, message = view.observed.obstacle, f"{rayjob.name}: the Ray cluster is being made"
    reason, stalled = "ProvisioningCluster", False
    if obstacle is not None:
        reason, message, stalled = obstacle.reason, obstacle.message, obstacle.needs_somebody
    cluster = no(ConditionType.CLUSTER_READY, reason, message)
    return Verdict(
        Phase.PROVISIONING, reason, message, reconciling=not stalled, stalled=stalled, cluster=cluster,
        keep=rayjob.attempt, again=again,
    )  # fmt: skip


def _running(view: View, rayjob: RayJob) -> Verdict:
    message = f"{rayjob.name} runs on {rayjob.cluster_name}"
    cluster = yes(ConditionType.CLUSTER_READY, "ClusterReady", f"{rayjob.cluster_name} is ready")
    silent, degraded, again = view.silent_seconds() or 0.0, None, None
    short = f"{rayjob.ready_workers} of {rayjob.workers} workers are ready"
    if rayjob.ready_workers < rayjob.workers:
        cluster = no(ConditionType.CLUSTER_READY, "WorkersPending", short)
    # KubeRay submits when the pods run, which is before their readiness probes have answered: not yet is not lost.
    were_ready = view.was(ConditionType.CLUSTER_READY) or view.was(ConditionType.DEGRADED)
    if rayjob.ready_workers < rayjob.workers and were_ready:
        degraded = yes(ConditionType.DEGRADED, "WorkerLost", short)
    elif silent >= HEARTBEAT_SECONDS:
        heard = text_of(view.now - timedelta(seconds=silent))
        degraded = yes(ConditionType.DEGRADED, "HeartbeatStale", f"the driver was last heard of at {heard}")
    else:
        again = HEARTBEAT_SECONDS - silent
    return Verdict(
        Phase.RUNNING, "Running", message, cluster=cluster, degraded=degraded, keep=rayjob.attempt, again=again
    )


def _waits(verdict: Verdict) -> Verdict:
    inputs = no(ConditionType.INPUTS_READY, verdict.reason, verdict.message)
    return Verdict(verdict.phase, verdict.reason, verdict.message, verdict.reconciling, verdict.stalled, inputs=inputs)
