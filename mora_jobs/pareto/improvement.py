"""Gains of one policy over another on held-out prompts, with paired intervals.

Published "percent" of this kind have been both points and relative, so both are always given.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mora_jobs.estimators.bootstrap import LEVEL, RESAMPLES, Interval, bounds, known, present_mean, resampled_means
from mora_jobs.pareto.dominance import Floats

OVERALL = "overall"


@dataclass(frozen=True)
class Improvement:
    """One objective, or the mean over objectives, before and after."""

    name: str
    before: float
    after: float
    """Means over the prompts that have both, in the unit of the scores."""
    points: Interval
    """unit · (after − before): percentage points for scores in [0, 1]."""
    relative_percent: Interval
    """100 · (after − before) / before, a ratio of means; NaN unless the mean before is positive."""

    def to_json(self) -> dict[str, Any]:
        """{name, before, after, points, relativePercent}, NaN as null."""
        return {
            "name": self.name,
            "before": known(self.before),
            "after": known(self.after),
            "points": self.points.to_json(),
            "relativePercent": self.relative_percent.to_json(),
        }


def improvements(
    before: ArrayLike,
    after: ArrayLike,
    objectives: Sequence[str],
    *,
    weights: Sequence[float] | None = None,
    unit: float = 100.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> list[Improvement]:
    """Gains per objective, and `overall` last.

    before, after: [P, K] scores (mean over a prompt's samples), the same prompt at the same index, NaN = missing: a
    prompt counts for an objective only if both are present, and for `overall` only if all objectives are.
    overall = Σ_m w_m · score_m with the weights scaled to sum 1 (equal when absent).
    unit: 100 for calibrated scores in [0, 1], 1 for raw rewards.  Intervals: paired percentile bootstrap over prompts,
    the same resamples for every objective; deterministic in the seed; NaN bounds below two prompts.
    The comparator is whatever `before` is (untrained policy, plain DPO, …): say which when printing.
    """
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if first.ndim != 2 or first.shape != second.shape or first.shape[1] != len(objectives):
        raise ValueError(f"need two arrays [P, {len(objectives)}], not {first.shape} and {second.shape}")
    share = _normalised(weights, len(objectives))
    first, second = (np.column_stack([scores, scores @ share]) for scores in (first, second))
    paired = ~(np.isnan(first) | np.isnan(second))
    first, second = np.where(paired, first, np.nan), np.where(paired, second, np.nan)
    resampled = resampled_means(np.stack([first, second], axis=1), resamples, seed)  # [B, 2, K + 1]
    means = present_mean(np.stack([first, second], axis=1))

    results = []
    for column, name in enumerate([*objectives, OVERALL]):
        prompts = int(paired[:, column].sum())
        old, new = float(means[0, column]), float(means[1, column])
        drawn_old, drawn_new = resampled[:, 0, column], resampled[:, 1, column]
        points = Interval(unit * (new - old), *bounds(unit * (drawn_new - drawn_old), prompts, level), prompts)
        results.append(Improvement(name, old, new, points, _relative(old, new, drawn_old, drawn_new, prompts, level)))
    return results


def _relative(old: float, new: float, drawn_old: Floats, drawn_new: Floats, prompts: int, level: float) -> Interval:
    """A percentage of a mean that is not positive, or in some resample is not, would say nothing."""
    if not old > 0:
        return Interval(math.nan, math.nan, math.nan, prompts)
    value = 100.0 * (new - old) / old
    present = ~np.isnan(drawn_old)
    if not (drawn_old[present] > 0).all():
        return Interval(value, math.nan, math.nan, prompts)
    ratios = 100.0 * (drawn_new[present] - drawn_old[present]) / drawn_old[present]
    return Interval(value, *bounds(ratios, prompts, level), prompts)


def _normalised(weights: Sequence[float] | None, size: int) -> Floats:
    share = np.ones(size) if weights is None else np.asarray(weights, dtype=np.float64)
    if share.shape != (size,) or not (share >= 0).all() or share.sum() <= 0:
        raise ValueError(f"weights must be {size} non-negative numbers with a positive sum")
    scaled: Floats = share / share.sum()
    return scaled
