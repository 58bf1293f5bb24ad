"""Which jobs a job refers to, in its spec, directly or through others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .align import AlignmentJob
from .base import JobRef
from .inputs import Prompts
from .resolved import Job
from .rewrite import RewriteJob
from .rollout import RolloutJob

JobKey = tuple[str, str]
"""Kind and name."""


class ReferenceCycle(ValueError):
    """Jobs that wait for each other. `path` is the field that closes the cycle, `members` the jobs in order."""

    def __init__(self, path: str, members: list[JobKey]) -> None:
        self.path = path
        self.members = members
        super().__init__(" → ".join(f"{kind}/{name}" for kind, name in members))


@dataclass(frozen=True, slots=True)
class Reference:
    """`path` is the field, e.g. spec.source.rolloutJobRef; `key` what it refers to."""

    path: str
    key: JobKey


def key_of(job: Job) -> JobKey:
    """Kind and name of a job."""
    return job.kind, job.metadata.name


def references(job: Job) -> Iterator[Reference]:
    """The references of one job, in the order of its fields."""
    match job:
        case RolloutJob():
            yield from _of_prompts("spec.prompts", job.spec.prompts)
        case RewriteJob():
            yield from _named("spec.source.rolloutJobRef", "RolloutJob", job.spec.source.rollout_job_ref)
        case AlignmentJob():
            data, evaluation = job.spec.data, job.spec.evaluation
            yield from _named("spec.data.rewriteJobRef", "RewriteJob", data.rewrite_job_ref)
            yield from _named("spec.data.rolloutJobRef", "RolloutJob", data.rollout_job_ref)
            if job.spec.online_prompts is not None:
                yield from _of_prompts("spec.onlinePrompts", job.spec.online_prompts)
            if evaluation is not None:
                yield from _of_prompts("spec.evaluation.prompts", evaluation.prompts)


def closure(job: Job, jobs: Mapping[JobKey, Job]) -> list[Job]:
    """Every job that `job` needs, each once, needed ones first; those that are not in `jobs` are left out.

    Raises ReferenceCycle when `job` needs itself, or needs jobs that need each other.
    """
    found: dict[JobKey, Job] = {}

    def visit(current: Job, trail: list[JobKey]) -> None:
        for reference in references(current):
            if reference.key in trail:
                raise ReferenceCycle(reference.path, [*trail[trail.index(reference.key) :], reference.key])
            needed = jobs.get(reference.key)
            if needed is not None and reference.key not in found:
                visit(needed, [*trail, reference.key])
                found[reference.key] = needed

    visit(job, [key_of(job)])
    return list(found.values())


def source_rollouts(job: Job, jobs: Mapping[JobKey, Job]) -> list[RolloutJob]:
    """The RolloutJobs whose policy, rewards and calibration a rewrite or an alignment builds on, without repetition."""
    keys: list[JobKey] = []
    if isinstance(job, RewriteJob):
        keys.append(("RolloutJob", job.spec.source.rollout_job_ref.name))
    elif isinstance(job, AlignmentJob):
        data = job.spec.data
        rewrite = jobs.get(("RewriteJob", data.rewrite_job_ref.name)) if data.rewrite_job_ref else None
        if isinstance(rewrite, RewriteJob):
            keys.append(("RolloutJob", rewrite.spec.source.rollout_job_ref.name))
        if data.rollout_job_ref is not None:
            keys.append(("RolloutJob", data.rollout_job_ref.name))
    found = [jobs.get(key) for key in dict.fromkeys(keys)]
    return [rollout for rollout in found if isinstance(rollout, RolloutJob)]


def _of_prompts(path: str, prompts: Prompts) -> Iterator[Reference]:
    yield from _named(f"{path}.rolloutJobRef", "RolloutJob", prompts.rollout_job_ref)
    yield from _named(f"{path}.rewriteJobRef", "RewriteJob", prompts.rewrite_job_ref)


def _named(path: str, kind: str, reference: JobRef | None) -> Iterator[Reference]:
    if reference is not None:
        yield Reference(path, (kind, reference.name))
