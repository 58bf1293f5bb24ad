"""A front that is known, and how much of it points have found."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree  # type: ignore[import-untyped]

Floats = NDArray[np.float64]
ON, COVERED = 0.01, 0.05
"""A point this near is on the front; a part of the front is found if a point on the front is this near to it."""
GAP = 0.1
"""Neighbours on the curve that are farther apart than this belong to different pieces."""


@dataclass(frozen=True, eq=False)
class Front:
    curve: Floats
    """[m, 2] points along it, close to each other within a piece."""
    unit: Floats
    """[2] what a distance of 1 is."""

    def distances(self, points: Floats) -> Floats:
        """[n] to the front."""
        return np.asarray(self._tree.query(points / self.unit)[0])

    def coverage(self, points: Floats) -> float:
        """Share of the front's length that points [n, 2] on it have found."""
        if len(points) == 0:
            return 0.0
        found = KDTree(points / self.unit).query(self.curve / self.unit)[0] <= COVERED
        return float(self._lengths @ found)

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.curve / self.unit)

    @cached_property
    def _lengths(self) -> Floats:
        """[m] the share of the length that belongs to each point of the curve."""
        steps = np.linalg.norm(np.diff(self.curve / self.unit, axis=0), axis=1)
        steps[steps > GAP] = 0
        share = np.pad(steps, (1, 0)) + np.pad(steps, (0, 1))
        return np.asarray(share / share.sum())


@dataclass(frozen=True, eq=False)
class Found:
    """What the runs of one method have found."""

    points: Floats
    """[n, 2] to draw."""
    on: NDArray[np.bool_]
    """[n] which of them are on the front."""
    coverage: float
    """Share of the front's length."""
    volume: float
    """Share of the front's hypervolume."""
    moving: int = 0
    """Runs that were not at rest after the last step."""
    at_bound: int | None = None
    """Of runs along a bound, those that ended at it."""
