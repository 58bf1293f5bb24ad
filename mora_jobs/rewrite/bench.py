"""The measuring bench of a RewriteJob: the policy and the rewards of its rollout job, on any prompts, under any seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mora_jobs import api
from mora_jobs.artifacts.document import read_json
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError
from mora_jobs.estimators.diversity import normalised_hypervolume
from mora_jobs.estimators.measures import active, measure
from mora_jobs.generation.prompts import Prompt
from mora_jobs.generation.rollouts import sample
from mora_jobs.generation.scores import calibrated, score
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rewards.calibration import Calibration


@dataclass(frozen=True)
class Figures:
    """What the rollouts of one prompt attain, at N samples, in calibrated scores; NaN where no sample is complete."""

    balance: float
    hypervolume: float
    joint: float
    reach: tuple[float, ...]
    active: int


@dataclass(frozen=True)
class Bench:
    """Draws and scores fresh rollouts exactly as the rollout job did, and reads them on its frozen scale."""

    store: Store
    source: api.RolloutJob
    calibration: Calibration
    samples: int
    import_paths: Sequence[str]
    reporter: Reporter

    @classmethod
    def of(
        cls, store: Store, source: api.RolloutJob, samples: int, resolved: api.ResolvedJob, reporter: Reporter
    ) -> "Bench":
        frozen = read_json(Store(source.spec.output.uri), "calibration.json")
        if frozen is None:
            raise UserError(f"RolloutJob/{source.metadata.name}", "has no calibration.json", "run it to its end first")
        return cls(store, source, Calibration.from_json(frozen), samples, resolved.import_paths, reporter)

    @property
    def dimensions(self) -> list[str]:
        return [reward.name for reward in self.source.spec.rewards]

    def measure(self, folder: str, prompts: Sequence[Prompt], seed: int, stage: str) -> dict[str, Figures]:
        """Figures of each prompt by id, from fresh rollouts under `seed` in the tables below `folder`."""
        spec, store = self.source.spec, self.store.child(folder) if folder else self.store
        drawn = scored = 0
        total = len(prompts)

        def count(*_: object) -> None:
            nonlocal drawn
            drawn += 1
            self.reporter.update(drawn, total, "Prompts", stage=stage)

        def count_scores(items: int) -> None:
            nonlocal scored
            scored += items
            self.reporter.update(scored, total * self.samples, "Responses", stage=f"{stage}Scores")

        sampling = spec.sampling.with_changes(samples_per_prompt=self.samples, seed=seed)
        rollouts = sample(
            store,
            "rollouts",
            prompts,
            model=spec.model,
            engine=spec.engine,
            sampling=sampling,
            replicas=spec.replicas or (spec.autoscaling.max_replicas if spec.autoscaling else 1),
            on_row=count,
        )
        scores = score(
            store,
            "scores",
            rollouts,
            rewards=spec.rewards,
            import_paths=self.import_paths,
            credentials=spec.credentials,
            on_row=count_scores,
        )
        wanted = {prompt.id for prompt in prompts}
        rows = (row for row in scores.rows() if row["id"] in wanted)
        return {row["id"]: self._figures(calibrated(row, self.dimensions, self.calibration)) for row in rows}

    def _figures(self, u: NDArray[np.float64]) -> Figures:
        if not len(u):  # the prompt could not be sampled
            nan = float("nan")
            return Figures(nan, nan, nan, (nan,) * len(self.dimensions), 0)
        isolation = self.source.spec.isolation
        found = measure(u[None], isolation.joint_level)
        exercised = active(found, isolation.criterion.value, isolation.reach_threshold, isolation.spread_threshold)
        return Figures(
            float(found.balance[0]),
            float(normalised_hypervolume(u)),
            float(found.joint[0]),
            tuple(float(value) for value in found.reach[0]),
            int(exercised.sum()),
        )
