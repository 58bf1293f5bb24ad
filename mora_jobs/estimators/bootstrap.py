"""Intervals by resampling prompts (Efron & Tibshirani 1993, percentile method), seeded.

The prompt is the unit that is resampled, because the samples of one prompt are not independent draws from the
population that a claim is about.  All columns of one call share their resamples: whatever is compared is paired.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000
LEVEL = 0.95
_CHUNK = 4_000_000  # elements of the count matrix held at once (32 MB)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure with its interval, in the figure's own unit; NaN where it cannot be had.

    The bounds are NaN below two prompts: resampling one prompt would only claim certainty.
    """

    value: float
    low: float
    high: float
    prompts: int
    """Prompts that the figure rests on."""

    def to_json(self) -> dict[str, float | int | None]:
        """value, low, high (null for NaN) and prompts."""
        figures = {"value": self.value, "low": self.low, "high": self.high}
        return {**{key: known(figure) for key, figure in figures.items()}, "prompts": self.prompts}


def known(figure: float) -> float | None:
    """The figure for JSON, which has no NaN."""
    return float(figure) if math.isfinite(figure) else None


def resampled_means(values: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Means of `resamples` samples of P prompts drawn with replacement.

    values: [P, ...], NaN = missing: a mean is over the prompts that are present.  Returns [resamples, ...], NaN where a
    resample holds no present prompt.  Deterministic in (P, resamples, seed), so that two calls of equal P are paired.
    """
    table = np.asarray(values, dtype=np.float64)
    prompts = len(table)
    if prompts == 0:
        return np.full((resamples, *table.shape[1:]), np.nan)
    flat = table.reshape(prompts, -1)
    present = ~np.isnan(flat)
    gaps = not present.all()
    filled, weight = np.where(present, flat, 0.0), present.astype(np.float64)
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // prompts)
    means = np.empty((resamples, flat.shape[1]))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        # how often each prompt was drawn: a matrix product then gives all means of a chunk
        counts = np.stack([np.bincount(rng.integers(0, prompts, prompts), minlength=prompts) for _ in range(size)])
        drawn = counts.astype(np.float64)
        total = drawn @ weight if gaps else np.full((size, 1), float(prompts))
        with np.errstate(invalid="ignore"):
            means[start : start + size] = drawn @ filled / total
    return means.reshape(resamples, *table.shape[1:])


def present_mean(values: ArrayLike) -> Floats:
    """Mean over prompts of [P, ...] without the missing ones; NaN where all are missing, with no warning."""
    table = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(table)
    count = present.sum(axis=0)
    total = np.where(present, table, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def bounds(resampled: ArrayLike, prompts: int, level: float = LEVEL) -> tuple[float, float]:
    """Percentile bounds of one resampled figure [resamples]; NaN below two prompts or without a known resample."""
    figures = np.asarray(resampled, dtype=np.float64)
    figures = figures[np.isfinite(figures)]
    if prompts < 2 or figures.size == 0:
        return math.nan, math.nan
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(values: ArrayLike, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL) -> Interval:
    """The mean of [P] values over prompts (NaN = missing) with its interval."""
    column = np.asarray(values, dtype=np.float64)
    prompts = int((~np.isnan(column)).sum())
    low, high = bounds(resampled_means(column, resamples, seed), prompts, level)
    return Interval(float(present_mean(column)), low, high, prompts)


def paired_change(
    before: ArrayLike, after: ArrayLike, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> tuple[float, float, Interval]:
    """Means before and after over the prompts that have both, and their difference (after − before) with its interval.

    before, after: [P] with the same prompt at the same index; NaN = missing.  This is how gains are reported.
    """
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"paired values need one shape [P], not {first.shape} and {second.shape}")
    both = ~(np.isnan(first) | np.isnan(second))
    gap = np.where(both, second - first, np.nan)
    means = [float(present_mean(np.where(both, column, np.nan))) for column in (first, second)]
    return means[0], means[1], mean_interval(gap, resamples, seed, level)
