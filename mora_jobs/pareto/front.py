"""The front of a set of policies: which points are on it, how much it dominates, where its knee is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mora_jobs.pareto.dominance import Floats, checked, non_dominated
from mora_jobs.pareto.hypervolume import contributions, hypervolume


@dataclass(frozen=True)
class Front:
    """Policies with their values on K objectives (maximised), on the front or not."""

    name: str
    """What the set is called in comparisons, such as the job's name."""
    objectives: tuple[str, ...]
    points: tuple[str, ...]
    """Names of the n policies."""
    values: Floats
    """[n, K] mean score of each policy."""
    prompts: tuple[str, ...] = ()
    """Ids of the P evaluation prompts, where the per-prompt values are known."""
    per_prompt: Floats | None = None
    """[n, P, K] scores of each policy on each prompt (mean over its samples), NaN = missing."""

    def __post_init__(self) -> None:
        shape = (len(self.points), len(self.objectives))
        if self.values.shape != shape:
            raise ValueError(f"{self.name}: values must be {shape}, not {self.values.shape}")
        if self.per_prompt is not None and self.per_prompt.shape != (shape[0], len(self.prompts), shape[1]):
            raise ValueError(f"{self.name}: per-prompt values have shape {self.per_prompt.shape}")
        if len(set(self.points)) < len(self.points) or len(set(self.prompts)) < len(self.prompts):
            raise ValueError(f"{self.name}: two points or two prompts have the same name")


@dataclass(frozen=True)
class Assessment:
    """What a front is worth against a frozen reference point."""

    members: tuple[int, ...]
    """Indices of the non-dominated points, by the first objective ascending."""
    hypervolume: float
    contributions: Floats
    """[n] of every point; 0 for dominated ones."""
    knee: int | None
    """Index of the knee, None where there is none."""


def assess(values: ArrayLike, reference: ArrayLike) -> Assessment:
    """Front, hypervolume, contributions and knee of the points [n, K] against the reference [K]."""
    points = checked(values)
    members = np.flatnonzero(non_dominated(points)).tolist()
    members.sort(key=lambda index: (*points[index].tolist(), index))
    return Assessment(tuple(members), hypervolume(points, reference), contributions(points, reference), knee(points))


def knee(values: ArrayLike) -> int | None:
    """Index of the point where the front bulges most, among the points [n, K]; None where it does not.

    Every objective is scaled to [0, 1] by its range over the non-dominated points, and the knee is the non-dominated
    point farthest above the hyperplane Σ_m f_m = 1.  With two objectives that is the line through both single-objective
    optima, and the knee is the one of Das 1999 (Structural Optimization 18, "On characterizing the 'knee' of the Pareto
    curve based on normal-boundary intersection"): the largest distance from the hull of the individual optima.  For
    three and more objectives Das's hull can be degenerate or miss part of the front; the fixed hyperplane is our choice.
    Equal distance: the better worst objective, then the larger values.

    None for fewer than three different non-dominated points, and where no point rises above the hyperplane (a front that
    is straight or bends inwards: there the extremes are no worse than anything between).
    """
    points = checked(values)
    front = np.flatnonzero(non_dominated(points))
    if len(front) == 0 or len(np.unique(points[front], axis=0)) < 3:
        return None
    low, high = points[front].min(axis=0), points[front].max(axis=0)
    varies = high > low
    scaled = (points[front][:, varies] - low[varies]) / (high - low)[varies]
    height = np.round(scaled.sum(axis=1), 12)
    best = max(range(len(front)), key=lambda i: (height[i], scaled[i].min(), *points[front[i]].tolist(), -i))
    return int(front[best]) if height[best] > 1.0 else None


def compromise(values: ArrayLike, weights: Sequence[float] | None = None) -> int:
    """Index of the one policy to report: the knee, or else the non-dominated point of the largest (weighted) mean.

    values: [n, K] of at least one point.  weights: K non-negative numbers, equal when absent; used only without a knee.
    """
    points = checked(values)
    chosen = knee(points)
    if chosen is not None:
        return chosen
    scale = np.ones(points.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    overall = np.where(non_dominated(points), points @ scale, -np.inf)
    return int(overall.argmax())
