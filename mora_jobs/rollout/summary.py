"""What a RolloutJob shows in its status, from its tables."""

import math
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mora_jobs import api
from mora_jobs.api.rollout import CurvePoint, IsolationStatus, RewardStatus, RolloutCounts, RolloutResult, TokenCounts
from mora_jobs.api.status import PromptCounts
from mora_jobs.artifacts.table import Table
from mora_jobs.engines.base import Completion
from mora_jobs.rewards.aggregation import Weighting
from mora_jobs.rewards.calibration import Calibration


@dataclass
class Tally:
    """Counters while rollouts are drawn; begins with what the table already holds."""

    total: int
    finished: int = 0
    failed: int = 0
    samples: int = 0
    prompt_tokens: int = 0
    generated: int = 0
    generated_before: int = 0
    since: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, rollouts: Table, total: int) -> "Tally":
        tally = cls(total)
        for row in rollouts.rows(["samples", "prompt_tokens", "error"]):
            tally._count(row["error"], row["prompt_tokens"], [sample["tokens"] for sample in row["samples"]])
        tally.generated_before = tally.generated
        return tally

    def add(self, completion: Completion) -> None:
        self._count(completion.error, completion.prompt_tokens, [sample.tokens for sample in completion.samples])

    def _count(self, error: str | None, prompt_tokens: int, tokens: list[int]) -> None:
        self.finished += 1
        self.failed += error is not None
        self.samples += len(tokens)
        self.prompt_tokens += prompt_tokens
        self.generated += sum(tokens)

    def counts(self) -> RolloutCounts:
        return RolloutCounts(
            prompts=PromptCounts(total=self.total, completed=self.finished - self.failed, failed=self.failed),
            samples=self.samples,
            tokens=TokenCounts(prompt=self.prompt_tokens, generated=self.generated),
        )

    def result(self) -> RolloutResult:
        return RolloutResult(rollouts=self.counts())

    def rates(self) -> dict[str, float]:
        seconds = max(time.monotonic() - self.since, 1e-9)
        return {"generated_tokens_per_second": (self.generated - self.generated_before) / seconds}


def column(scores: Table, reward: str) -> NDArray[np.float64]:
    """All raw scores of one reward, NaN where missing."""
    values = [math.nan if v is None else v for row in scores.rows(["id", reward]) for v in row[reward]]
    return np.asarray(values, dtype=np.float64)


def summarise(
    spec: api.RolloutSpec,
    rollouts: Table,
    scores: Table,
    calibration: Calibration,
    weighting: Weighting,
    isolation: IsolationStatus,
    curves: list[CurvePoint],
) -> RolloutResult:
    """The status of a finished job; figures have six significant digits."""
    raw = {reward.name: column(scores, reward.name) for reward in spec.rewards}
    return RolloutResult(
        rollouts=Tally.of(rollouts, rollouts.count()).counts(),
        rewards=[_reward(name, raw[name], weighting.weights[name], weighting.entropies.get(name)) for name in raw],
        correlations=_correlations(raw, calibration),
        isolation=isolation,
        curves=curves,
    )


def _reward(name: str, raw: NDArray[np.float64], weight: float, entropy: float | None) -> RewardStatus:
    known = raw[~np.isnan(raw)]
    figures = (known.mean(), known.std(), *np.quantile(known, [0.1, 0.9])) if known.size else (math.nan,) * 4
    mean, stddev, p10, p90 = (api.number(float(value)) for value in figures)
    return RewardStatus(
        name=name,
        mean=mean,
        stddev=stddev,
        p10=p10,
        p90=p90,
        missing=int(raw.size - known.size),
        entropy=None if entropy is None else api.number(entropy),
        weight=api.number(weight),
    )


def _correlations(raw: dict[str, NDArray[np.float64]], calibration: Calibration) -> list[list[str]]:
    """Pearson correlation of the calibrated scores over rollouts that have both; `nan` where one is constant."""
    u = [calibration.transform(name, values) for name, values in raw.items()]

    def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        both = ~(np.isnan(a) | np.isnan(b))
        if both.sum() < 2 or np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
            return math.nan
        return float(np.corrcoef(a[both], b[both])[0, 1])

    return [[api.number(correlation(a, b)) for b in u] for a in u]
