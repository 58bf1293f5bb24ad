"""What keeps a job from running in a cluster although the schema admits it: reasons of `Stalled`."""

import re
from collections.abc import Iterator, Sequence

from mora_jobs.api import AlignmentJob, Job, RolloutJob
from mora_jobs.api.crosscheck import queue_conflicts, relative_uris
from mora_jobs.api.texts import OBJECT
from mora_jobs.api.uris import claim_of

from ..render.accelerators import cpus, engines, gpus, gpus_are_claimed
from ..render.conflicts import conflicts, credential_conflicts
from ..render.objects import worker_group
from ..render.quantities import faults
from ..render.uris import uris
from ..settings import Settings

GPUS = "spec.cluster.workers.resources.limits"
Blocker = tuple[str, str]


def blockers(job: Job, settings: Settings, references: Sequence[Job] = ()) -> Iterator[Blocker]:
    """Reason and message of every obstacle; each names the field to change. `references` are the jobs it builds on."""
    if not (job.spec.cluster.image or settings.runtime_image):
        yield "ImageMissing", "spec.cluster.image: no image is given, and this installation has no default one"
    if isinstance(job, RolloutJob) and job.spec.autoscaling is not None:
        yield "AutoscalingUnavailable", "spec.autoscaling: in a cluster give a fixed number of replicas"
    for problem in (*relative_uris(job), *queue_conflicts(job)):
        yield problem.reason, f"{problem.path}: {problem.message}"
    yield from _claims(job)
    for path, message in conflicts(job):
        yield "PodPatchConflict", f"{path}: {message}"
    for path, message in credential_conflicts(job):
        yield "CredentialConflict", f"{path}: {message}"
    yield from _amounts(job)
    yield from _accelerators(job, references)


def _claims(job: Job) -> Iterator[Blocker]:
    for path, uri in uris(job):
        claim = claim_of(uri)
        if claim is not None and not (re.fullmatch(OBJECT, claim) and len(claim) <= 253):
            yield "InvalidClaim", f"{path}: {claim!r} is not the name of a PersistentVolumeClaim (pvc://claim/path)"


def _amounts(job: Job) -> Iterator[Blocker]:
    cluster = job.spec.cluster
    for group, resources in (("head", cluster.head.resources), ("workers", cluster.workers.resources)):
        for path, message in faults(resources):
            yield "InvalidResources", f"spec.cluster.{group}.resources.{path}: {message}"


def _accelerators(job: Job, references: Sequence[Job]) -> Iterator[Blocker]:
    """Engines and trainers wait for ever for GPUs, and for CPUs beside them, that no worker has."""
    if gpus_are_claimed(job):
        return
    there, group = gpus(job), worker_group(job, references)
    most = 1
    for path, engine in engines(job, references):
        tensor, stages = engine.tensor_parallel_size, engine.pipeline_parallel_size
        if tensor * stages > 1 and there == 0:
            yield "AcceleratorsMissing", f"{path}: it takes {tensor * stages} GPUs, and {GPUS} has no nvidia.com/gpu"
        elif there and tensor > there:
            message = f"{path}.tensorParallelSize: it takes {tensor} GPUs of one worker, and {GPUS} gives it {there}"
            yield "AcceleratorsMissing", message
        elif there and (room := group.replicas * group.hosts * (there // tensor)) < stages:
            message = f"{path}.pipelineParallelSize: all workers together have room for {room} of {stages} stages"
            yield "AcceleratorsMissing", message
        else:
            most = max(most, tensor * min(stages, max(1, there // tensor)))
    if isinstance(job, AlignmentJob) and there:
        workers = job.spec.trainer.workers_per_node
        most = max(most, workers)
        if workers > there:
            message = (
                f"spec.trainer.workersPerNode: {workers} workers take a GPU each, and {GPUS} gives a node {there}"
            )
            yield "AcceleratorsMissing", message
    processors = cpus(job)
    if there and processors is not None and processors < most:
        message = f"{most} GPUs of a worker are used, with a CPU each, and it has {processors}"
        yield "ProcessorsMissing", f"spec.cluster.workers.resources.requests.cpu: {message}"
