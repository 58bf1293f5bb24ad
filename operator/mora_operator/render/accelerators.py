"""GPUs of the workers, and the engines that have to find room on them.

An engine replica takes tensorParallelSize × pipelineParallelSize GPUs with one CPU each (mora_jobs.engines.placement). Its
placement group is packed: tensor parallelism is meant to stay inside a worker, pipeline stages may lie on several.
"""

import re
from collections.abc import Iterable, Iterator
from math import ceil

from mora_jobs.api import AlignmentJob, Engine, Job, Reward, RewriteJob, RolloutJob
from mora_jobs.api.references import key_of, source_rollouts
from mora_jobs.api.rewards import JudgeReward

from .quantities import amount

MIG = re.compile(r"nvidia\.com/mig-\d+g\.\d+gb$")


def gpus(job: Job) -> int:
    """GPUs of each worker as Ray will see them: KubeRay infers num-gpus from the first limit that is one."""
    limits = job.spec.cluster.workers.resources.limits
    found = (int(amount(limits[name])) for name in sorted(limits) if name.endswith("gpu") or MIG.search(name))
    return next((each for each in found if each), 0)


def gpus_are_claimed(job: Job) -> bool:
    """Whether devices come by resource claims: how many they are is known on the node only."""
    return bool(job.spec.cluster.workers.pod.resource_claims)


def cpus(job: Job) -> int | None:
    """CPUs of each worker as Ray will see them; None where Ray counts those of the node."""
    resources = job.spec.cluster.workers.resources
    quantity = resources.limits.get("cpu") or resources.requests.get("cpu")
    return ceil(amount(quantity)) if quantity is not None and amount(quantity) else None


def engines(job: Job, references: Iterable[Job] = ()) -> Iterator[tuple[str, Engine]]:
    """Every engine that a job runs, with the path of its settings; those of jobs that it builds on come with its name."""
    sources = source_rollouts(job, {key_of(other): other for other in references})
    match job:
        case RolloutJob():
            yield "spec.engine", job.spec.engine
            yield from _judges("spec.rewards", job.spec.rewards)
        case RewriteJob():
            judge = job.spec.validation.judge
            if job.spec.rewriter.model is not None:
                yield "spec.rewriter.engine", job.spec.rewriter.engine
            if judge is not None:
                yield from _judge("spec.validation.judge", judge)
        case AlignmentJob():
            if job.spec.generation.engine is not None:
                yield "spec.generation.engine", job.spec.generation.engine
            if job.spec.evaluation is not None:
                yield from _judges("spec.evaluation.rewards", job.spec.evaluation.rewards)
    for source in sources:
        own = isinstance(job, AlignmentJob) and job.spec.generation.engine is not None
        for path, engine in engines(source):
            if not (own and path == "spec.engine"):
                yield f"RolloutJob/{source.metadata.name}: {path}", engine


def hosts(engine: Engine, there: int) -> int:
    """Workers that one replica of an engine takes, with `there` GPUs on each."""
    stages = max(1, there // engine.tensor_parallel_size)
    return ceil(engine.pipeline_parallel_size / stages)


def _judges(path: str, rewards: Iterable[Reward]) -> Iterator[tuple[str, Engine]]:
    for index, reward in enumerate(rewards):
        if reward.judge is not None:
            yield from _judge(f"{path}[{index}].judge", reward.judge)


def _judge(path: str, judge: JudgeReward) -> Iterator[tuple[str, Engine]]:
    if judge.model is not None:
        yield f"{path}.engine", judge.engine
