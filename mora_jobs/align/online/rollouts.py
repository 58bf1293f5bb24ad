"""Groups of responses of the current policy with their calibrated scores. Held by the first worker of a training.

The engines are those of a RolloutJob. The policy reaches them as an adapter over the base model: each step's lies in the
store beside the training, so that an engine that died and is started again finds the newest one.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mora_jobs import api
from mora_jobs.align.online.prompts import CALIBRATION
from mora_jobs.align.task import Task
from mora_jobs.artifacts.document import read_json
from mora_jobs.artifacts.store import Store
from mora_jobs.engines.base import Request, Sample, request_seed
from mora_jobs.engines.cluster import connect, total
from mora_jobs.engines.pool import EnginePool
from mora_jobs.errors import UserError
from mora_jobs.generation.prompts import Prompt
from mora_jobs.generation.scores import calibrated
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.calibration import Calibration
from mora_jobs.rewards.pool import RewardPool

SYNC = "sync"


@dataclass(frozen=True)
class Group:
    """The responses to one prompt, and their scores [n, K] in [0, 1], NaN where one is missing."""

    prompt: Prompt
    samples: tuple[Sample, ...]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """What one call brought, and the seconds that its parts took."""

    groups: list[Group]
    sync_seconds: float
    sampling_seconds: float
    scoring_seconds: float


class Rollouts:
    """Engines and reward models; a context manager. They are opened by the first draw."""

    def __init__(
        self, task: Task, prompts: Mapping[str, Prompt], write_policy: Callable[[str], None], timeout: float
    ) -> None:
        """`write_policy` writes the policy as it is now, as one adapter, below the training's folder."""
        assert task.sampler is not None
        self._task, self._how, self._timeout = task, task.sampler.how, timeout
        self._prompts, self._write = prompts, write_policy
        self._names = task.wanted[0]
        self._calibration = Calibration.from_json(read_json(Store(task.root), CALIBRATION))
        self._stack = ExitStack()
        self._engines: EnginePool | None = None
        self._scorers: RewardPool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def draw(self, turn: int, names: Sequence[str]) -> Drawn:
        """A group for each prompt of the names, from the policy as it is now; `turn` numbers the draws of a training.

        The seed of a group depends on the sampling's seed, its prompt and the turn alone. Raises SyncTimeout, and UserError
        for a prompt that the engine refuses.
        """
        begun = time.monotonic()
        engines, scorers = self._renewed(turn), self._rewards()
        synced = time.monotonic()
        requests = []
        for place, name in enumerate(names):
            seed = request_seed(self._how.sampling.seed, f"{name}\n{turn}")
            requests.append(
                Request(str(place), self._prompts[name].messages, self._how.sampling.samples_per_prompt, seed)
            )
        answers = {int(each.id): each for each in engines.generate(requests)}
        sampled = time.monotonic()
        for place, name in enumerate(names):
            if answers[place].error is not None:
                raise UserError(f"spec.onlinePrompts {name}", f"{answers[place].error}", "leave it out")
        chats = [(self._prompts[name], answers[place].samples) for place, name in enumerate(names)]
        items = [
            Item(f"{prompt.id}#{index}", prompt.text, sample.text, prompt.fields)
            for prompt, samples in chats
            for index, sample in enumerate(samples)
        ]
        scores = calibrated(scorers.score(items), self._names, self._calibration)
        count = self._how.sampling.samples_per_prompt
        groups = [
            Group(prompt, samples, scores[place * count : (place + 1) * count])
            for place, (prompt, samples) in enumerate(chats)
        ]
        return Drawn(groups, synced - begun, sampled - synced, time.monotonic() - sampled)

    def _renewed(self, turn: int) -> EnginePool:
        """Engines with the policy as it is now."""
        folder = f"{SYNC}/{turn:08d}"
        self._write(folder)
        adapter = api.Adapter(name="policy", uri=f"{self._task.store.uri}/{folder}")
        model = self._task.model.with_changes(adapters=[adapter])
        if self._engines is None:
            self._check_gpus()
            pool = EnginePool(
                model, self._how.engine, self._how.sampling, self._how.replicas, credentials=self._how.credentials
            )
            self._engines = self._stack.enter_context(pool)
        else:
            self._engines.renew(model, self._timeout)
        for path in {"/".join(path.split("/")[:2]) for path in self._task.store.list(SYNC)} - {folder}:
            self._task.store.delete(path)
        return self._engines

    def _rewards(self) -> RewardPool:
        if self._scorers is None:
            assert self._task.sampler is not None
            wanted = [reward for reward in self._how.rewards if reward.name in self._names]
            pool = RewardPool(wanted, self._task.sampler.import_paths, self._how.credentials, gpus=self._gpus_left())
            self._scorers = self._stack.enter_context(pool)
        return self._scorers

    def _gpus_left(self) -> float:
        """GPUs that neither workers nor engines take."""
        engine, trainer = self._how.engine, self._task.spec.trainer
        engines = self._how.replicas * engine.tensor_parallel_size * engine.pipeline_parallel_size
        return total("GPU") - trainer.nodes * trainer.workers_per_node - engines

    def _check_gpus(self) -> None:
        connect()
        there = total("GPU")
        if there and self._gpus_left() < 0:
            what = f"workers and engines take {there - self._gpus_left():g} GPUs together, and there are {there:g}"
            raise UserError("spec.trainer", what, "this method needs both at once: lower one, or add GPUs")
