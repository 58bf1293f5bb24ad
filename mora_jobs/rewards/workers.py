"""Where rewards run: actors for those that compute, threads of this process for those that wait for others."""

import itertools
import logging
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayTaskError

from mora_jobs import api
from mora_jobs.engines.cluster import total
from mora_jobs.errors import UserError
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.load import Scorer, load

Scores = dict[str, list[float | None]]
log = logging.getLogger(__name__)

RETRIES = 3  # of one batch whose worker died
CPUS = 0.01  # keeps actors off nodes that offer no CPU, and never waits for one on a laptop


class RewardWorkerError(RuntimeError):
    """A worker died again and again on one batch."""


class Workers(Protocol):
    """Everything that scores one group of rewards. `size` batches are worked on at once, the others queue."""

    label: str
    size: int

    def ready(self) -> None:
        """Return when models are loaded. Raises UserError."""
        ...

    def submit(self, items: Sequence[Item]) -> Future[Scores]: ...

    def close(self) -> None: ...


class Threads:
    """Rewards that wait for a server or for an engine's actors: threads of this process."""

    def __init__(self, scorer: Scorer, group: Sequence[api.Reward]) -> None:
        self.label = group[0].name
        self.size = 4 if group[0].http is not None else 1
        self._scorer = scorer
        self._executor = ThreadPoolExecutor(self.size, thread_name_prefix=f"reward-{group[0].name}")

    def ready(self) -> None:
        """Loaded when it was made."""

    def submit(self, items: Sequence[Item]) -> Future[Scores]:
        return self._executor.submit(self._scorer.score, items)

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._scorer.close()


class Actors:
    """Rewards that compute: actors, each with a model or a callable of its own."""

    def __init__(
        self,
        group: Sequence[api.Reward],
        import_paths: Sequence[str],
        models: int,
        actors: int,
        most_gpus: float | None = None,
    ) -> None:
        """`models` and `actors` of the job share its GPUs (at most `most_gpus` of them) and CPUs."""
        self.label = ", ".join(reward.name for reward in group)
        gpus, cpus = total("GPU"), total("CPU")
        gpus = gpus if most_gpus is None else max(0.0, min(gpus, most_gpus))
        if group[0].classifier is None:
            share, self.size = 0.0, int(max(1, min(8, cpus // (2 * actors))))
        else:
            share, self.size = _gpu_share(models, gpus)
        self._wants = f"{share:g} GPUs each for {self.size}"
        options: dict[str, Any] = {"num_cpus": CPUS, "num_gpus": share, "scheduling_strategy": "SPREAD"}
        # A lost node is restarted for ever; a batch that kills its worker is given up after RETRIES.
        options |= {"max_restarts": -1, "max_task_retries": RETRIES}
        actor: Any = ray.remote(RewardActor)
        self._actors = [
            actor.options(**options).remote(list(group), list(import_paths), max(1, models)) for _ in range(self.size)
        ]
        self._next = itertools.cycle(self._actors)

    def ready(self) -> None:
        loading = [actor.ready.remote() for actor in self._actors]
        while loading:
            done, loading = ray.wait(loading, timeout=60)
            for reference in done:
                result(reference.future(), self.label)
            if not done:
                log.warning("the reward %s is loading, or waits for a free worker (%s)", self.label, self._wants)

    def submit(self, items: Sequence[Item]) -> Future[Scores]:
        reference = next(self._next).score.remote(list(items))
        future: Future[Scores] = reference.future()
        return future

    def close(self) -> None:
        for actor in self._actors:
            ray.kill(actor)


class RewardActor:
    """Loads lazily: an actor that was restarted loads again by itself."""

    def __init__(self, group: Sequence[api.Reward], import_paths: Sequence[str], models: int) -> None:
        self._group, self._import_paths, self._models = group, import_paths, models
        self._scorer: Scorer | None = None

    def ready(self) -> None:
        if self._scorer is None:
            if self._group[0].classifier is not None:
                import torch

                # Ray gives an actor one thread; models share the cores of their machine.
                torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // self._models))
            self._scorer = load(self._group, self._import_paths)

    def score(self, items: Sequence[Item]) -> Scores:
        self.ready()
        assert self._scorer is not None
        return self._scorer.score(items)


def _gpu_share(models: int, gpus: float) -> tuple[float, int]:
    """(GPUs for one actor, replicas of each model). A fraction never straddles two GPUs."""
    whole = int(gpus)
    if whole == 0:
        return 0.0, 1
    if whole >= models:
        return 1.0, whole // models
    return 1.0 / -(-models // whole), 1


def result(future: Future[Any], label: str) -> Any:
    """The result of a future of the workers `label`; a UserError of an actor is raised as it was there."""
    try:
        return future.result()
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None  # the user's line, not the actor's traceback
        raise
    except RayActorError as error:
        raise RewardWorkerError(f"the worker of {label} died, {RETRIES} retries included: {error}") from error
