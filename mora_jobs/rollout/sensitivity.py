"""How far the histogram of classes hangs on our thresholds and on the number of rollouts, and how stable it is.

The thresholds have no source, so no histogram is reported without this table.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora_jobs.estimators.bootstrap import RESAMPLES, Interval, bounds, known, resampled_means
from mora_jobs.estimators.measures import Measures, measure
from mora_jobs.rollout.isolation import PromptClass, Thresholds, classify

REACH_OFFSETS = (-0.2, -0.1, 0.0, 0.1, 0.2)
SPREAD_FACTORS = (0.0, 0.5, 1.0, 1.5, 2.0)
PLATEAU_FACTORS = (0.5, 1.0, 2.0, 3.0)


@dataclass(frozen=True)
class SubsetMeasures:
    """Measures of P prompts on all N samples, on fewer, and on two disjoint halves; small enough to keep for all prompts.

    Samples are taken in their stored order: they are exchangeable draws, so the first half is as good as any.
    """

    by_samples: dict[int, Measures]
    """On the first N, ⌊N/2⌋ and ⌊N/4⌋ samples, those of at least two samples (and N itself)."""
    halves: tuple[Measures, Measures] | None
    """On the first and the second ⌊N/2⌋ samples; None below N = 4, where a half shows no plateau."""

    @classmethod
    def of(cls, u: ArrayLike, joint_level: float) -> "SubsetMeasures":
        """From scores [P, N, K], padded with NaN; call it batch by batch."""
        scores = np.asarray(u, dtype=np.float64)
        n = scores.shape[1]
        sizes = [n, *(size for size in (n // 2, n // 4) if size >= 2)]
        by_samples = {size: measure(scores[:, :size], joint_level) for size in sizes}
        second = measure(scores[:, n // 2 : 2 * (n // 2)], joint_level) if n >= 4 else None
        return cls(by_samples, (by_samples[n // 2], second) if second is not None else None)

    @classmethod
    def concatenate(cls, parts: Sequence["SubsetMeasures"]) -> "SubsetMeasures":
        """The measures of several batches of prompts, all with the same N, in order."""
        sizes = {tuple(part.by_samples) for part in parts}
        if len(sizes) != 1:
            raise ValueError("batches with different numbers of samples cannot be joined; pad them with NaN")
        joined = {size: Measures.concatenate([part.by_samples[size] for part in parts]) for size in sizes.pop()}
        halved = [part.halves for part in parts if part.halves is not None]
        if not halved:
            return cls(joined, None)
        first, second = (Measures.concatenate([half[side] for half in halved]) for side in (0, 1))
        return cls(joined, (first, second))

    def select(self, prompts: NDArray[Any]) -> "SubsetMeasures":
        """Only some prompts (a mask), or another order of them (indices)."""
        joined = {size: part.select(prompts) for size, part in self.by_samples.items()}
        if self.halves is None:
            return SubsetMeasures(joined, None)
        return SubsetMeasures(joined, (self.halves[0].select(prompts), self.halves[1].select(prompts)))

    @property
    def full(self) -> Measures:
        """On all samples: what the reported classes rest on."""
        return self.by_samples[max(self.by_samples)]


def sensitivity(
    subsets: SubsetMeasures, thresholds: Thresholds, dimensions: Sequence[str], seed: int = 0
) -> dict[str, Any]:
    """The table that goes into isolation.json, all entries with the histogram of `Isolation.histogram`.

    thresholds: [{reachThreshold, spreadThreshold, …}] reachThreshold ± 0.1, 0.2 (within [0, 1]) × spreadThreshold × 0,
    0.5, 1, 1.5, 2, only along the axes that the criterion uses; plateau: [{plateauTolerance, …}] (null = not asked for);
    samples: [{samples, …}] for N, N/2, N/4; stability: see `stability`, or null.
    """
    full = subsets.full
    grid = [
        {"reachThreshold": varied.reach_threshold, "spreadThreshold": varied.spread_threshold}
        | classify(full, varied).histogram(dimensions)
        for varied in threshold_grid(thresholds)
    ]
    tolerances = [*(round(thresholds.plateau_tolerance * factor, 6) for factor in PLATEAU_FACTORS), math.inf]
    plateau = [
        {"plateauTolerance": known(tolerance)}
        | classify(full, replace(thresholds, plateau_tolerance=tolerance)).histogram(dimensions)
        for tolerance in tolerances
    ]
    samples = [
        {"samples": size} | classify(part, thresholds).histogram(dimensions)
        for size, part in subsets.by_samples.items()
    ]
    halves = None if subsets.halves is None else stability(*subsets.halves, thresholds, seed=seed)
    return {"thresholds": grid, "plateau": plateau, "samples": samples, "stability": halves}


def threshold_grid(thresholds: Thresholds) -> list[Thresholds]:
    """Variations of (reach_threshold, spread_threshold) around the given ones, without repetitions, given ones included.

    The axis that the criterion ignores is not varied.
    """
    reaches = [thresholds.reach_threshold]
    spreads = [thresholds.spread_threshold]
    if thresholds.criterion != "Spread":
        reaches = _around(reaches[0], [reaches[0] + offset for offset in REACH_OFFSETS])
    if thresholds.criterion != "Level":
        spreads = _around(spreads[0], [spreads[0] * factor for factor in SPREAD_FACTORS])
    return [replace(thresholds, reach_threshold=r, spread_threshold=s) for r in reaches for s in spreads]


def _around(given: float, others: Sequence[float]) -> list[float]:
    """The given threshold as it is, and others within [0, 1] without the noise of floating point."""
    clipped = {round(min(1.0, max(0.0, other)), 6) for other in others}
    return sorted({given} | {other for other in clipped if abs(other - given) > 1e-6})


def stability(
    first: Measures, second: Measures, thresholds: Thresholds, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Which share of single-reward prompts stays so on the other half of the samples.

    first, second: measures of the same P prompts on disjoint halves.  Both directions are pooled: every prompt that one
    half calls SingleReward is looked up in the other.  Returns {prompts, marked (in the first half plus in the second),
    same (also single, on the same dimension), single (also single), base (SingleReward among all prompts: what
    an unrelated half would give), sameClass (same class of all four)}; shares are {value, low, high, prompts} with 95 %
    bootstrap intervals over prompts, null where nothing is marked.
    """
    a, b = classify(first, thresholds), classify(second, thresholds)
    single_a, single_b = (half.is_class(PromptClass.SINGLE_REWARD) for half in (a, b))
    both = single_a & single_b
    # a column per count and prompt: ratios of their means are the shares
    marked = single_a.astype(np.float64) + single_b
    alike = a.codes == b.codes
    columns = np.stack([marked, 2.0 * both, 2.0 * (both & (a.dimension == b.dimension)), alike], axis=1)
    resampled = resampled_means(columns, resamples, seed)
    carriers = int((marked > 0).sum())
    prompts = len(a)

    def share(column: int) -> dict[str, Any]:
        total = columns[:, 0].sum()
        value = float(columns[:, column].sum() / total) if total else math.nan
        with np.errstate(invalid="ignore"):
            ratios = resampled[:, column] / resampled[:, 0]
        return Interval(value, *bounds(ratios, carriers), carriers).to_json()

    equal = float(alike.mean()) if prompts else math.nan
    base = float(marked.mean() / 2) if prompts else math.nan
    return {
        "prompts": prompts,
        "marked": int(marked.sum()),
        "same": share(2),
        "single": share(1),
        "base": Interval(base, *bounds(resampled[:, 0] / 2, prompts), prompts).to_json(),
        "sameClass": Interval(equal, *bounds(resampled[:, 3], prompts), prompts).to_json(),
    }
