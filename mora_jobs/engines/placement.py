"""What an engine replica takes of the cluster: its GPUs by a placement group, its share of the CPUs."""

from dataclasses import dataclass
from typing import Any

from mora_jobs import api


@dataclass(frozen=True)
class Placement:
    """`bundles` of a placement group (none for one GPU or a CPU), options of the actor, and its OpenMP threads."""

    bundles: tuple[dict[str, float], ...]
    options: dict[str, Any]
    threads: int


def place(engine: api.Engine, gpus: bool, cpus: float, replicas: int) -> Placement:
    """The placement of one replica in a cluster with `cpus` CPUs in all.

    With GPUs a replica takes tensorParallelSize × pipelineParallelSize of them; several are reserved together, near each
    other. On CPUs it computes with its share of the cores but reserves only a part of it: other stages of the job must
    find room beside it, or both would wait for each other for ever.
    """
    ranks = engine.tensor_parallel_size * engine.pipeline_parallel_size
    if gpus and ranks == 1:
        return Placement((), {"num_cpus": 1, "num_gpus": 1}, 1)
    if gpus:
        return Placement(({"CPU": 1.0, "GPU": 1.0},) * ranks, {"num_cpus": 1, "num_gpus": 0}, 1)
    threads = max(1, int(cpus // replicas))
    reserved = max(0.5, float(threads // 4))
    return Placement((), {"num_cpus": reserved, "scheduling_strategy": "SPREAD"}, threads)
