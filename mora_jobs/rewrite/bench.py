"""The measuring bench of a RewriteJob: the policy and the rewards of its rollout job, on any prompts, under any seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mora_jobs import api
from mora_jobs.artifacts.document import read_json
from mora_jobs.artifacts.store import Store
from mora_jobs.engines.cluster import total
from mora_jobs.engines.pool import EnginePool
from mora_jobs.errors import UserError
from mora_jobs.estimators.diversity import normalised_hypervolume
from mora_jobs.estimators.measures import active, measure
from mora_jobs.generation.held import Held
from mora_jobs.generation.prompts import Prompt
from mora_jobs.generation.rollouts import sample
from mora_jobs.generation.scores import calibrated, score
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rewards.calibration import Calibration
from mora_jobs.rewards.pool import RewardPool


@dataclass(frozen=True)
class Figures:
    """What the rollouts of one prompt attain, at N samples, in calibrated scores; NaN where no sample is complete."""

    balance: float
    hypervolume: float
    joint: float
    reach: tuple[float, ...]
    active: int


class Bench:
    """Draws and scores fresh rollouts exactly as the rollout job did, and reads them on its frozen scale.

    A context manager: on a machine without GPUs the engines and the reward models stay loaded from one seed to the next.
    With GPUs each gives them back to the other.
    """

    def __init__(
        self,
        store: Store,
        source: api.RolloutJob,
        samples: int,
        import_paths: Sequence[str],
        reporter: Reporter,
    ) -> None:
        frozen = read_json(Store(source.spec.output.uri), "calibration.json")
        if frozen is None:
            raise UserError(f"RolloutJob/{source.metadata.name}", "has no calibration.json", "run it to its end first")
        self.store, self.isolation, self.reporter = store, source.spec.isolation, reporter
        self.calibration = Calibration.from_json(frozen)
        self.dimensions = [reward.name for reward in source.spec.rewards]
        self.sampling = sampling = source.spec.sampling.with_changes(samples_per_prompt=samples)
        spec = source.spec
        self._engines = Held(lambda: EnginePool(spec.model, spec.engine, sampling, spec.most_replicas))
        self._rewards = Held(lambda: RewardPool(spec.rewards, import_paths, spec.credentials))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engines.close()
        self._rewards.close()

    def measure(self, folder: str, prompts: Sequence[Prompt], seed: int, stage: str) -> dict[str, Figures]:
        """Figures of each prompt by id, from fresh rollouts under `seed` in the tables below `folder`."""
        store = self.store.child(folder) if folder else self.store
        drawn = self.reporter.counter(len(prompts), "Prompts", stage)
        rollouts = sample(
            store,
            "rollouts",
            prompts,
            pool=self._engines,
            sampling=self.sampling.with_changes(seed=seed),
            on_row=lambda _: drawn(1),
        )
        self._make_room(self._engines)
        responses = len(prompts) * self.sampling.samples_per_prompt
        count = self.reporter.counter(responses, "Responses", f"{stage}Scores")
        scores = score(store, "scores", rollouts, rewards=self.dimensions, pool=self._rewards, on_row=count)
        self._make_room(self._rewards)
        wanted = {prompt.id for prompt in prompts}
        rows = (row for row in scores.rows() if row["id"] in wanted)
        return {row["id"]: self.figures(calibrated(row, self.dimensions, self.calibration)) for row in rows}

    @staticmethod
    def _make_room(held: Held[Any]) -> None:
        if held.is_open and total("GPU") > 0:
            held.close()

    def figures(self, u: NDArray[np.float64]) -> Figures:
        """Figures of one prompt's calibrated scores u[N, K]."""
        if not len(u):  # the prompt could not be sampled
            nan = float("nan")
            return Figures(nan, nan, nan, (nan,) * len(self.dimensions), 0)
        isolation = self.isolation
        found = measure(u[None], isolation.joint_level)
        exercised = active(found, isolation.criterion.value, isolation.reach_threshold, isolation.spread_threshold)
        return Figures(
            float(found.balance[0]),
            float(normalised_hypervolume(u)),
            float(found.joint[0]),
            tuple(float(value) for value in found.reach[0]),
            int(exercised.sum()),
        )
