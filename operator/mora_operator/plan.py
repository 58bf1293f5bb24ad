"""What to do about a job, decided from what is seen now, whatever happened before: plan(job, observed, now) → Plan.

Pure: no clock, no API server, no memory. An ordered chain of checks looks at the same view; the first that has
something to say decides. Each tells what the job has come to (a Verdict), from which the one status write is derived.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mora_jobs.api import AttemptExit, ConditionType, Job, Phase

from .blockers import blockers
from .conditions import Finding, clip, is_true, merge, no, of_job, yes
from .rayjobs import Failure, FailureClass, RayJob, Stage, failure
from .references import References
from .render import gpu_count
from .resources import attempt_name
from .settings import Settings

HISTORY_LIMIT = 10


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known about a job besides its spec."""

    status: Mapping[str, Any]
    generation: int
    deleting: bool = False
    rayjobs: tuple[RayJob, ...] = ()  # those of this very object (by uid), all attempts
    references: References = field(default_factory=References)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order: create, delete, write the status, look again."""

    start: int | None = None  # index of the attempt whose objects are to exist
    stop: tuple[RayJob, ...] = ()  # RayJobs to delete
    keep: int | None = None  # index of a live attempt: its pods need a ConfigMap that is up to date
    status: dict[str, Any] | None = None  # the reconciler's part of status, as it should be


@dataclass(frozen=True, slots=True)
class View:
    """A job with what is observed of it, and the questions that several checks ask."""

    job: Job
    observed: Observed
    settings: Settings
    now: datetime

    @property
    def attempts(self) -> Mapping[str, int]:
        return {"current": 0, "failed": 0, "infraRestarts": 0} | dict(self.observed.status.get("attempts") or {})

    @property
    def rayjob(self) -> RayJob | None:
        """The newest RayJob. It may be newer than status says, if the operator died between its create and the write."""
        return max(self.observed.rayjobs, key=lambda rayjob: rayjob.attempt, default=None)

    @property
    def current(self) -> int:
        return max(self.attempts["current"], self.rayjob.attempt if self.rayjob else 0)

    @property
    def exit(self) -> AttemptExit | None:
        record = self.observed.status.get("exit")
        return AttemptExit.model_validate(record) if record else None

    def was(self, kind: ConditionType) -> bool:
        return is_true(self.observed.status, kind)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a job has come to. `reason` and `message` serve every condition that has none of its own."""

    phase: Phase
    reason: str
    message: str = ""
    reconciling: bool = False
    stalled: bool = False
    inputs: Finding | None = None
    cluster: Finding | None = None
    start: int | None = None
    stop: tuple[RayJob, ...] = ()
    keep: int | None = None
    failure: Failure | None = None
    counters: Mapping[str, int] = field(default_factory=dict)


def plan(job: Job, observed: Observed, settings: Settings, now: datetime) -> Plan:
    """Decide about one job. The same arguments always give the same plan."""
    if observed.deleting:
        return Plan()
    view = View(job, observed, settings, now)
    if view.was(ConditionType.COMPLETE) or view.was(ConditionType.FAILED):
        return Plan(status=seen_again(view))
    for check in CHECKS:
        verdict = check(view)
        if verdict is not None:
            return Plan(verdict.start, verdict.stop, verdict.keep, status_of(view, verdict))
    raise AssertionError("the last check always decides")


def stalled(observed: Observed, now: datetime, reason: str, message: str) -> dict[str, Any]:
    """The status of a job that cannot be acted upon: its spec cannot be read, or its objects are refused."""
    return basics(observed, Verdict(Phase.STALLED, reason, message, stalled=True), now)


# ---------------------------------------------------------------- checks, in order
def check_manifest(view: View) -> Verdict | None:
    """What the schema cannot see: the job cannot run as it stands, and waits until somebody changes something."""
    if view.rayjob is not None:
        return None  # it runs: a setting that was changed since does not stop it
    for reason, message in blockers(view.job, view.settings):
        return Verdict(Phase.STALLED, reason, message, stalled=True)
    return None


def check_references(view: View) -> Verdict | None:
    """Jobs that this one builds on must be complete before it starts; once it has started, they are not asked again."""
    if view.rayjob is not None:
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


def check_suspension(view: View) -> Verdict | None:
    if not view.job.spec.suspend:
        return None
    rayjob = view.rayjob
    if rayjob is None:
        return Verdict(Phase.SUSPENDED, "Suspended", "suspended by spec.suspend")
    if rayjob.stage in (Stage.SUCCEEDED, Stage.FAILED):
        return None  # too late to suspend
    stop = () if rayjob.deleting else (rayjob,)
    return Verdict(Phase.SUSPENDING, "Suspending", f"stopping {rayjob.name}", reconciling=True, stop=stop)


def check_start(view: View) -> Verdict | None:
    """No RayJob: begin the first attempt, or the next one if the last was suspended or taken away from outside."""
    if view.rayjob is not None:
        return None
    last = view.attempts["current"]
    counters = {}
    if last and view.observed.status.get("phase") not in (Phase.SUSPENDED, Phase.SUSPENDING):
        restarts = view.attempts["infraRestarts"] + 1
        lost = Failure(
            FailureClass.EXTERNAL_DELETION, "RayJobDeleted", f"{_name(view, last)} was deleted from outside"
        )
        if restarts > view.job.spec.failure_policy.max_infra_restarts:
            return Verdict(Phase.FAILED, lost.reason, lost.message, stalled=True, failure=lost)
        counters = {"infraRestarts": restarts}
        return Verdict(
            Phase.RETRYING,
            lost.reason,
            lost.message,
            reconciling=True,
            start=last + 1,
            failure=lost,
            counters=counters,
        )
    message = f"creating {_name(view, last + 1)}"
    return Verdict(Phase.PROVISIONING, "CreatingCluster", message, reconciling=True, start=last + 1)


def check_attempt(view: View) -> Verdict:
    """There is a RayJob: show what it has come to."""
    rayjob = view.rayjob
    assert rayjob is not None, "check_start has seen to it"
    if rayjob.deleting and rayjob.stage in (Stage.PROVISIONING, Stage.RUNNING):
        return Verdict(Phase.RETRYING, "AttemptDeleted", f"{rayjob.name} is being deleted", reconciling=True)
    match rayjob.stage:
        case Stage.PROVISIONING:
            message = f"{rayjob.name}: the Ray cluster is being made"
            cluster = no(ConditionType.CLUSTER_READY, "Provisioning", message)
            return Verdict(
                Phase.PROVISIONING,
                "ProvisioningCluster",
                message,
                reconciling=True,
                cluster=cluster,
                keep=rayjob.attempt,
            )
        case Stage.RUNNING:
            message = f"{rayjob.name} runs on {rayjob.cluster_name}"
            cluster = yes(ConditionType.CLUSTER_READY, "ClusterReady", f"{rayjob.cluster_name} is ready")
            return Verdict(Phase.RUNNING, "Running", message, cluster=cluster, keep=rayjob.attempt)
        case Stage.SUCCEEDED:
            reason = view.exit.reason if view.exit is not None and view.exit.attempt == rayjob.attempt else "Complete"
            message = view.exit.message if view.exit is not None else ""
            return Verdict(Phase.COMPLETE, reason, message or f"{rayjob.name} succeeded")
        case Stage.FAILED:
            ended = failure(rayjob, view.exit)
            counters = {} if ended.type is FailureClass.INFRA else {"failed": view.attempts["failed"] + 1}
            return Verdict(Phase.FAILED, ended.reason, ended.message, stalled=True, failure=ended, counters=counters)


CHECKS: tuple[Callable[[View], Verdict | None], ...] = (
    check_manifest,
    check_suspension,
    check_references,
    check_start,
    check_attempt,
)


# ---------------------------------------------------------------- status
def status_of(view: View, verdict: Verdict) -> dict[str, Any]:
    """The reconciler's part of status. Progress, metrics, results and outputs are the progress endpoint's."""
    status = view.observed.status
    attempt = verdict.start or view.current
    rayjob = view.rayjob if verdict.start is None else None
    finished = verdict.phase in (Phase.COMPLETE, Phase.FAILED)
    written = basics(view.observed, verdict, view.now)
    if attempt:
        written["attempts"] = dict(view.attempts) | {"current": attempt} | dict(verdict.counters)
        written["currentAttempt"] = _attempt(view, attempt, rayjob)
        written["gpus"] = gpu_count(view.job)
    if "startTime" not in status and (verdict.phase is Phase.RUNNING or finished):
        written["startTime"] = (rayjob.ran_at if rayjob else None) or _text(view.now)
    if finished:
        written["completionTime"] = (rayjob.end_time if rayjob else None) or _text(view.now)
    if rayjob is not None and rayjob.dashboard_url:
        url = rayjob.dashboard_url
        # Beside what the driver has left there: a member that differs is sent again and again.
        written["links"] = dict(status.get("links") or {}) | {"dashboardURL": url if "://" in url else f"http://{url}"}
    if verdict.failure is not None:
        past = _past(view, view.current, verdict.failure)
        written["attemptHistory"] = [past, *status.get("attemptHistory", [])][:HISTORY_LIMIT]
    return written


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
    return of_job(
        verdict.phase,
        verdict.reason,
        verdict.message,
        reconciling=verdict.reconciling,
        stalled=verdict.stalled,
        inputs=verdict.inputs or yes(ConditionType.INPUTS_READY, reason),
        cluster=verdict.cluster,
    )


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


def _waits(verdict: Verdict) -> Verdict:
    inputs = no(ConditionType.INPUTS_READY, verdict.reason, verdict.message)
    return Verdict(verdict.phase, verdict.reason, verdict.message, verdict.reconciling, verdict.stalled, inputs=inputs)


def _attempt(view: View, index: int, rayjob: RayJob | None) -> dict[str, Any]:
    before = view.observed.status.get("currentAttempt") or {}
    attempt: dict[str, Any] = {"index": index, "rayJobName": _name(view, index)}
    if rayjob is not None:
        if rayjob.cluster_name:
            attempt["rayClusterName"] = rayjob.cluster_name
        if rayjob.job_id:
            attempt["jobId"] = rayjob.job_id
        attempt["startTime"] = rayjob.created
    elif before.get("index") == index:
        attempt = dict(before)
    elif before:
        # A merge patch keeps what it does not name: the last attempt's cluster is not the new one's.
        attempt |= {name: None for name in ("rayClusterName", "jobId", "startTime") if name in before}
    return attempt


def _past(view: View, index: int, ended: Failure) -> dict[str, Any]:
    rayjob = view.rayjob
    past = {"index": index, "reason": ended.reason, "class": ended.type.value, "message": clip(ended.message)}
    if rayjob is not None:
        past["startTime"] = rayjob.created
    return past | {"endTime": (rayjob.end_time if rayjob else None) or _text(view.now)}


def _name(view: View, index: int) -> str:
    return attempt_name(view.job.metadata.name, index)


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
