"""What neither the schema nor CEL can see: labels, URIs that only a cluster refuses, and other jobs.

Each problem has the reason that a cluster shows as `Stalled`; `mora validate` prints the same ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from posixpath import normpath

from .align import AlignmentJob
from .cluster import Retain, SubmissionMode
from .methods import PairRule
from .references import JobKey, ReferenceCycle, closure, key_of, references, source_rollouts
from .resolved import Job
from .rewrite import RewriteJob
from .rollout import RolloutJob
from .uris import uris

KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
ELASTIC = "kueue.x-k8s.io/elastic-job"
_GANGS = ("volcano.sh/", "yunikorn.apache.org/", "kai.scheduler/", "ray.io/gang-scheduling-enabled")
_SCHEDULERS = ("kueue.x-k8s.io/", "volcano.sh/", "yunikorn.apache.org/", "kai.scheduler/")


@dataclass(frozen=True, slots=True)
class Problem:
    """`reason` is PascalCase, `path` as the API server writes it, `message` what is wrong with the field."""

    reason: str
    path: str
    message: str


def problems(job: Job, jobs: Mapping[JobKey, Job]) -> Iterator[Problem]:
    """Everything wrong with a job among others (itself may be among them), except what only one target refuses."""
    yield from queue_conflicts(job)
    yield from missing_references(job, jobs)
    try:
        closure(job, jobs)
    except ReferenceCycle as cycle:
        if cycle.members[0] == key_of(job):  # the others report it themselves
            path = next(each.path for each in references(job) if each.key == cycle.members[1])
            yield Problem("ReferenceCycle", path, f"the jobs wait for each other: {cycle}")
        return
    yield from unknown_rewards(job, jobs)


def queue_conflicts(job: Job) -> Iterator[Problem]:
    """Labels of two schedulers at once, and what Kueue does not allow."""
    labels, annotations = job.metadata.labels, job.metadata.annotations
    used = [prefix for prefix in _SCHEDULERS if any(label.startswith(prefix) for label in labels)]
    if len(used) > 1:
        names = " and ".join(prefix.rstrip("/") for prefix in used)
        yield Problem("QueueConflict", "metadata.labels", f"labels of {names}: only one of them can queue the job")
    gang = next((prefix for prefix in _GANGS if any(label.startswith(prefix) for label in labels)), None)
    if gang is not None and job.spec.cluster.submission_mode is not SubmissionMode.K8S_JOB:
        message = f"KubeRay hands {gang.rstrip('/')} on to the pods in K8sJobMode only"
        yield Problem("QueueConflict", "spec.cluster.submissionMode", message)
    if not labels.get(KUEUE_QUEUE):
        return
    if job.spec.cluster.retain_on_failure is not Retain.NONE:
        message = "a job in a Kueue queue cannot keep its cluster after a failure"
        yield Problem("QueueConflict", "spec.cluster.retainOnFailure", message)
    if isinstance(job, RolloutJob) and job.spec.autoscaling is not None and annotations.get(ELASTIC) != "true":
        message = f'in a Kueue queue it needs the annotation {ELASTIC}: "true"'
        yield Problem("QueueConflict", "spec.autoscaling", message)


def missing_references(job: Job, jobs: Mapping[JobKey, Job]) -> Iterator[Problem]:
    """References to jobs that do not exist."""
    for reference in references(job):
        if reference.key not in jobs:
            kind, name = reference.key
            near = nearest(name, [other for other_kind, other in jobs if other_kind == kind])
            yield Problem("ReferenceNotFound", f"{reference.path}.name", f"there is no {kind} {name}{near}")


def unknown_rewards(job: Job, jobs: Mapping[JobKey, Job]) -> Iterator[Problem]:
    """Dimensions and objectives that no reward of the referenced rollout jobs has."""
    sources = source_rollouts(job, jobs)
    if isinstance(job, RewriteJob) and sources:
        known = {reward.name for reward in sources[0].spec.rewards}
        origin = f"RolloutJob {sources[0].metadata.name}"
        for index, intent in enumerate(job.spec.intents):
            yield from _unknown(f"spec.intents[{index}].dimension", intent.dimension, known, origin)
        for index, template in enumerate(job.spec.rewriter.templates or []):
            if template.dimension is not None:
                path = f"spec.rewriter.templates[{index}].dimension"
                yield from _unknown(path, template.dimension, known, origin)
    if isinstance(job, AlignmentJob):
        yield from _unknown_objectives(job, sources)


def _unknown_objectives(job: AlignmentJob, sources: list[RolloutJob]) -> Iterator[Problem]:
    own = [reward.name for reward in job.spec.evaluation.rewards] if job.spec.evaluation else []
    scored = {source.metadata.name: {reward.name for reward in source.spec.rewards} for source in sources}
    for index, name in enumerate(own):
        for source, names in scored.items():
            if name in names:
                message = f"RolloutJob {source} has a reward of this name already, which is evaluated in any case"
                yield Problem("DuplicateReward", f"spec.evaluation.rewards[{index}].name", message)
    for index, objective in enumerate(job.spec.objectives):
        path = f"spec.objectives[{index}].name"
        if job.spec.pairs.rule is PairRule.DATASET:  # given pairs need no scores, but the gain must be measurable
            if not job.spec.data.rewrite_job_ref and not job.spec.data.rollout_job_ref:
                yield from _unknown(path, objective.name, set(own), "spec.evaluation.rewards")
            elif scored:
                yield from _unknown(path, objective.name, set(own).union(*scored.values()), "the referenced jobs")
        else:
            for source, names in scored.items():
                yield from _unknown(path, objective.name, names, f"RolloutJob {source}")


def relative_uris(job: Job) -> Iterator[Problem]:
    """URIs that have no meaning in a cluster."""
    for path, uri in uris(job):
        if uri.startswith("file://") and not uri.startswith("file:///"):
            message = "in a cluster a file:// URI must be absolute, on a mounted volume; or use pvc://claim/path"
            yield Problem("RelativeURI", path, message)


def shared_outputs(job: Job, others: Mapping[JobKey, Job]) -> Iterator[Problem]:
    """Other jobs that write into the same folder, or into one inside it."""
    here = _folder(job.spec.output.uri)
    for key, other in others.items():
        there = _folder(other.spec.output.uri)
        if key != key_of(job) and (here == there or here.startswith(f"{there}/")):
            message = f"{'/'.join(key)} writes to {other.spec.output.uri}; each job needs a folder of its own"
            yield Problem("SharedOutput", "spec.output.uri", message)


def _folder(uri: str) -> str:
    scheme, _, path = uri.partition("://")
    return f"{scheme}://{normpath(path)}"


def _unknown(path: str, name: str, known: set[str], origin: str) -> Iterator[Problem]:
    if name not in known:
        has = f" has {', '.join(sorted(known))}" if known else " has none"
        yield Problem("UnknownReward", path, f"there is no reward {name}{nearest(name, known)}; {origin}{has}")


def nearest(name: str, known: list[str] | set[str]) -> str:
    """ "; did you mean X?" where there is a name close to the one given, else nothing."""
    close = get_close_matches(name, sorted(known), n=1)
    if not close:
        lowered = {each.lower(): each for each in known}
        close = [lowered[each] for each in get_close_matches(name.lower(), sorted(lowered), n=1)]
    return f"; did you mean {close[0]}?" if close else ""
