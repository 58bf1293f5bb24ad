"""What isolation and rewriting look at: a few figures per prompt, computed once from its scores."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora_jobs.estimators.reach import Floats, joint, reach

SLACK = 1e-9
"""Figures this close to a threshold count as equal to it: 0.95 − 0.8 is 0.1499999999999999 in floating point."""


@dataclass(frozen=True)
class Measures:
    """Figures of P prompts with K dimensions, at k = n, the samples that each prompt has; NaN where n is 0."""

    reach: Floats
    """[P, K] best score of each dimension over the prompt's samples, reach_m(n)."""
    spread: Floats
    """[P, K] q90 − q10 of the scores within the prompt (linear interpolation); 0 for one sample."""
    joint: Floats
    """[P] 1 if any complete sample has all dimensions at the joint level, else 0: joint(n)."""
    balance: Floats
    """[P] the best worst dimension, balance(n)."""
    balance_gain: Floats
    """[P] balance(n) − balance(⌊n/2⌋): what doubling the rollouts brought; NaN below two complete samples."""
    complete: NDArray[np.int64]
    """[P] samples with a score on every dimension."""

    @classmethod
    def concatenate(cls, parts: Sequence["Measures"]) -> "Measures":
        """The measures of several batches of prompts, in order."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def select(self, prompts: NDArray[Any]) -> "Measures":
        """Only some prompts (a mask), or another order of them (indices)."""
        return Measures(*(getattr(self, f.name)[prompts] for f in fields(self)))

    def __len__(self) -> int:
        return len(self.complete)


def measure(u: ArrayLike, joint_level: float) -> Measures:
    """The figures of scores [P, N, K] in [0, 1]; prompts with fewer than N samples are padded with NaN.

    Source: the active set and the plateau of MORA's isolation step as we define them (docs/isolation.md).
    """
    scores = np.asarray(u, dtype=np.float64)
    if scores.ndim != 3:
        raise ValueError(f"scores must be [prompts, samples, dimensions], not {scores.shape}")
    by_dimension = np.swapaxes(scores, 1, 2)
    worst = scores.min(axis=2)
    complete = (~np.isnan(worst)).sum(axis=1)
    best, half, hit = (np.full(len(scores), np.nan) for _ in range(3))
    for n in np.unique(complete[complete > 0]).tolist():
        rows = complete == n
        hit[rows] = joint(scores[rows], joint_level, [n])[:, 0]
        best[rows] = reach(worst[rows], [n])[:, 0]
        if n >= 2:
            half[rows] = reach(worst[rows], [n // 2])[:, 0]
    top = np.where(np.isnan(by_dimension), -np.inf, by_dimension).max(axis=2, initial=-np.inf)
    return Measures(
        reach=np.where(np.isneginf(top), np.nan, top),
        spread=spread(by_dimension),
        joint=hit,
        balance=best,
        balance_gain=best - half,
        complete=complete,
    )


def spread(u: ArrayLike, low: float = 0.1, high: float = 0.9) -> Floats:
    """Quantile gap q_high − q_low over the last axis of [..., N], missing (NaN) samples left out; NaN if all are.

    Linear interpolation between order statistics (numpy's default, type 7).  `np.nanquantile` gives the same, prompt
    by prompt in Python: minutes where this takes a fraction of a second.
    """
    rows = np.sort(np.asarray(u, dtype=np.float64), axis=-1)  # NaN sorts last
    if rows.shape[-1] == 0:
        return np.full(rows.shape[:-1], np.nan)
    present = (~np.isnan(rows)).sum(axis=-1, keepdims=True)
    last = np.maximum(present - 1, 0)

    def quantile(q: float) -> Floats:
        position = q * last
        below = np.floor(position).astype(np.int64)
        lower = np.take_along_axis(rows, below, axis=-1)
        upper = np.take_along_axis(rows, np.minimum(below + 1, last), axis=-1)
        return np.asarray((lower + (upper - lower) * (position - below))[..., 0])

    return quantile(high) - quantile(low)


def active(measures: Measures, criterion: str, reach_threshold: float, spread_threshold: float) -> NDArray[np.bool_]:
    """[P, K] whether the prompt exercises a dimension.

    criterion: "Level" (reach ≥ reach_threshold), "Spread" (spread ≥ spread_threshold) or "Both".  Bounds are inclusive;
    a dimension without any score is not active.
    """
    level = measures.reach >= reach_threshold - SLACK
    gap = measures.spread >= spread_threshold - SLACK
    match str(criterion):
        case "Level":
            return level
        case "Spread":
            return gap
        case "Both":
            return level & gap
    raise ValueError(f"criterion must be Level, Spread or Both, not {criterion!r}")
