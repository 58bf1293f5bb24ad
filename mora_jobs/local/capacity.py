"""What the machine has, what a job takes of it, and which jobs may run beside each other."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mora_jobs import api
from mora_jobs.errors import UserError

GIB = 2**30
JOB_BYTES = 4 * GIB
"""Memory that must be free before a job is started beside another one."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """Processors and GPUs, there or needed."""

    cpus: int
    gpus: int = 0

    def holds(self, needed: Iterable["Capacity"]) -> bool:
        needed = list(needed)
        return sum(n.cpus for n in needed) <= self.cpus and sum(n.gpus for n in needed) <= self.gpus


def machine() -> Capacity:
    """This machine, as far as this process may use it."""
    return Capacity(_cpus(), _gpus())


def demand(job: api.Job, there: Capacity) -> Capacity:
    """What a job takes. Without GPUs its engines and workers compute on the processors: below two for a job, two jobs
    side by side take longer than one after the other."""
    spec = job.spec
    if isinstance(spec, api.RolloutSpec):
        processes, gpus = spec.most_replicas, spec.most_replicas * _per_engine(spec.engine)
    elif isinstance(spec, api.RewriteSpec):
        processes, gpus = 1, _per_engine(spec.rewriter.engine)
    else:
        processes = gpus = spec.trainer.nodes * spec.trainer.workers_per_node
        if spec.online_prompts is not None:  # engines beside the trainer
            gpus += spec.generation.replicas * _per_engine(spec.generation.engine or api.Engine())
    return Capacity(processes, gpus) if there.gpus else Capacity(max(2, processes))


def check_fits(jobs: Iterable[api.Job], there: Capacity) -> list[UserError]:
    """Jobs that want more GPUs than there are would wait for ever. On processors everything can be shared."""
    return [
        UserError(
            f"{job.kind}/{job.metadata.name}",
            f"needs {demand(job, there).gpus} GPUs, and this machine has {there.gpus}",
            "lower replicas, tensorParallelSize or the trainer's workers, or run it in a cluster",
        )
        for job in jobs
        if demand(job, there).gpus > there.gpus
    ]


def may_start(job: api.Job, running: Iterable[api.Job], there: Capacity, free_bytes: int) -> bool:
    """Whether a job may start beside the running ones. Alone it always may."""
    running = list(running)
    if not running:
        return True
    return free_bytes >= JOB_BYTES and there.holds(demand(each, there) for each in (*running, job))


def free_memory() -> int:
    """Bytes that can be had without swapping; a lot where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 2**50
    available = next((line for line in lines if line.startswith("MemAvailable:")), "MemAvailable: 0 kB")
    return int(available.split()[1]) * 1024


def object_store_bytes() -> int:
    """Ray's object store: bounded, because what passes through it are rows of text, and memory is for models."""
    try:
        shared = shutil.disk_usage("/dev/shm").free
    except OSError:
        shared = 2 * GIB
    return max(80 * 2**20, min(2 * GIB, free_memory() // 20, shared // 2))


def _per_engine(engine: api.Engine) -> int:
    return engine.tensor_parallel_size * engine.pipeline_parallel_size


def _cpus() -> int:
    """Cores of this process, a container's quota included."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period))) if quota != "max" else cores
    except (OSError, ValueError):
        return cores


def _gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([each for each in visible.split(",") if each.strip() not in ("", "-1")])
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
