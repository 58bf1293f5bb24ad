"""Calibration: raw rewards of any scale become u in [0, 1], higher better, by a distribution function fitted once."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora_jobs.errors import UserError

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]
FORMAT = 1
GRID = 500  # knots lie at most 1/GRID of the mass apart, or are neighbours in the data


@dataclass(frozen=True)
class Curve:
    """The distribution of one reward: `values` ascending, `levels` their mid-distribution values, `count` scores."""

    values: Floats
    levels: Floats
    count: int
    missing: int
    lower_is_better: bool

    def transform(self, values: ArrayLike) -> Floats:
        raw = np.asarray(values, dtype=np.float64)
        if len(self.values) == 1:
            return np.where(np.isnan(raw), np.nan, 0.5)
        u = np.interp(raw, self.values, self.levels, left=0.0, right=1.0)  # np.interp passes NaN through
        return np.asarray(1.0 - u if self.lower_is_better else u)


@dataclass(frozen=True)
class Calibration:
    """One frozen curve per reward.

    u is the mid-distribution function (Parzen's; ridits), u(r) = P(X < r) + P(X = r) / 2 over the calibration scores:
    ties share one value, the mean over the calibration scores is exactly 1/2 for every reward, so dimensions compare,
    and turning a reward round (LowerIsBetter) gives exactly 1 − u, which a right-continuous P(X ≤ r) would not.
    Between calibration values it is linear, below the smallest 0 and above the largest 1. A constant reward is 1/2
    everywhere. A missing score (None, NaN) stays missing.
    """

    curves: Mapping[str, Curve]

    @classmethod
    def fit(cls, raw: Mapping[str, Iterable[float | None] | ArrayLike], lower_is_better: set[str]) -> "Calibration":
        """Fit on calibration scores by reward name. Raises UserError for a reward without a single score."""
        return cls({name: _fit(name, _floats(values), name in lower_is_better) for name, values in raw.items()})

    def transform(self, name: str, values: ArrayLike | Iterable[float | None]) -> Floats:
        """u of raw values of the reward `name`, in the same shape; KeyError for a reward that was not fitted."""
        return self.curves[name].transform(_floats(values))

    def to_json(self) -> dict[str, Any]:
        """A JSON document; reading it back gives the same numbers, bit for bit."""
        return {
            "format": FORMAT,
            "rewards": {
                name: {
                    "values": curve.values.tolist(),
                    "levels": curve.levels.tolist(),
                    "count": curve.count,
                    "missing": curve.missing,
                    "lowerIsBetter": curve.lower_is_better,
                }
                for name, curve in self.curves.items()
            },
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Calibration":
        """The calibration that `to_json` wrote. Raises UserError for another format."""
        if document.get("format") != FORMAT:
            raise UserError(
                "calibration.json", f"format {document.get('format')!r} is not {FORMAT}", "run the rollout job again"
            )
        return cls(
            {
                name: Curve(
                    np.asarray(curve["values"], dtype=np.float64),
                    np.asarray(curve["levels"], dtype=np.float64),
                    curve["count"],
                    curve["missing"],
                    curve["lowerIsBetter"],
                )
                for name, curve in document["rewards"].items()
            }
        )


def _floats(values: Any) -> Floats:
    array = values if isinstance(values, np.ndarray) else np.asarray(list(values) if np.iterable(values) else values)
    return np.asarray(array, dtype=np.float64)  # None becomes NaN


def _fit(name: str, raw: Floats, lower_is_better: bool) -> Curve:
    known = raw[~np.isnan(raw)]
    if known.size == 0:
        raise UserError(f"reward {name!r}", f"gave no score for any of {raw.size} responses")
    values, counts = np.unique(known, return_counts=True)
    if len(values) == 1:
        log.warning(
            "reward %r is constant (%g for %d responses): its calibrated score is 0.5", name, values[0], known.size
        )
    levels = (np.cumsum(counts) - counts / 2) / known.size
    knots = _knots(levels)
    return Curve(values[knots], levels[knots], int(known.size), int(raw.size - known.size), lower_is_better)


def _knots(levels: Floats) -> NDArray[np.intp]:
    """Which values to keep: all when few, else both neighbours of each of GRID + 1 levels, at most 2 (GRID + 1).

    Two kept values are then neighbours in the data or less than 1/GRID apart in level, so u is off by less than that.
    Both neighbours are needed: across an atom (a value that many responses share) u jumps.
    """
    last = len(levels) - 1
    if last <= 2 * GRID:
        return np.arange(len(levels))
    grid = np.linspace(0.0, 1.0, GRID + 1)
    below = np.searchsorted(levels, grid, side="right") - 1
    above = np.searchsorted(levels, grid, side="left")
    return np.unique(np.clip(np.concatenate([below, above]), 0, last))
