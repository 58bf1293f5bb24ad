"""A job and everything that it refers to become the one document that its driver reads."""

from collections.abc import Iterable, Mapping

from .align import AlignmentJob
from .cluster import Credential
from .inputs import Engine, Sampling
from .references import JobKey, closure, source_rollouts
from .resolved import Job, ResolvedJob


def resolve(job: Job, jobs: Mapping[JobKey, Job], import_paths: Iterable[str] = (), attempt: int = 1) -> ResolvedJob:
    """The job with its references (needed ones first), what it inherits filled in, and the credentials of all of them.

    URIs are left as they are. Raises ReferenceCycle; references that are not in `jobs` are left out.
    """
    needed = closure(job, jobs)
    if isinstance(job, AlignmentJob):
        job = _with_generation(job, jobs)
    return ResolvedJob(
        job=_with_credentials(job, needed), references=needed, import_paths=list(import_paths), attempt=attempt
    )


def _with_generation(job: AlignmentJob, jobs: Mapping[JobKey, Job]) -> AlignmentJob:
    """Evaluation samples as the rollout job did, unless the manifest says otherwise."""
    source = next(iter(source_rollouts(job, jobs)), None)
    given = job.spec.generation
    generation = given.with_changes(
        engine=given.engine or (source.spec.engine if source else Engine()),
        sampling=given.sampling or (source.spec.sampling if source else Sampling()),
    )
    return job.with_changes(spec=job.spec.with_changes(generation=generation))


def _with_credentials(job: Job, needed: Iterable[Job]) -> Job:
    """Rewards and models of a referenced job come with its credentials; the job's own win by name."""
    credentials: dict[str, Credential] = {}
    for each in (job, *needed):
        for credential in each.spec.credentials:
            credentials.setdefault(credential.name, credential)
    return job.with_changes(spec=job.spec.with_changes(credentials=list(credentials.values())))
