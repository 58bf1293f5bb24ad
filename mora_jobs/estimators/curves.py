"""The curves reach(k), joint(k), balance(k) for k = 1 … N, of every prompt and averaged over prompts.

They carry the explaining experiment: where joint and balance stay flat while the reach of each single dimension still
rises with k, it is the prompt that binds, not the number of rollouts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora_jobs.estimators.bootstrap import LEVEL, RESAMPLES, Interval, bounds, present_mean, resampled_means
from mora_jobs.estimators.reach import Floats, balance, joint, reach


@dataclass(frozen=True)
class Curves:
    """Curves of P prompts at G values of k, for K dimensions; NaN where a prompt has fewer than k samples."""

    ks: tuple[int, ...]
    reach: Floats
    """[P, G, K], unit of the scores."""
    joint: Floats
    """[P, G], probability."""
    balance: Floats
    """[P, G], unit of the scores."""

    @classmethod
    def of(cls, u: ArrayLike, tau: ArrayLike, ks: Sequence[int]) -> "Curves":
        """From scores [P, N, K]; prompts with fewer than N samples are padded with NaN. tau: the joint level."""
        scores = np.asarray(u, dtype=np.float64)
        by_dimension = reach(np.swapaxes(scores, -1, -2), ks)  # [P, K, G]
        return cls(tuple(ks), np.swapaxes(by_dimension, -1, -2), joint(scores, tau, ks), balance(scores, ks))

    @classmethod
    def concatenate(cls, parts: Sequence["Curves"]) -> "Curves":
        """The curves of several batches of prompts, in order; all at the same k."""
        if len({part.ks for part in parts}) != 1:
            raise ValueError("curves at different k cannot be joined")
        return cls(
            parts[0].ks,
            np.concatenate([part.reach for part in parts]),
            np.concatenate([part.joint for part in parts]),
            np.concatenate([part.balance for part in parts]),
        )

    def select(self, prompts: NDArray[Any]) -> "Curves":
        """Only some prompts (a mask or indices), such as the single-reward ones."""
        return Curves(self.ks, self.reach[prompts], self.joint[prompts], self.balance[prompts])


@dataclass(frozen=True)
class MeanPoint:
    """One k of the averaged curves."""

    k: int
    reach: dict[str, Interval]
    joint: Interval
    balance: Interval

    def to_json(self) -> dict[str, Any]:
        """One entry of curves.json; every figure as {value, low, high, prompts}."""
        return {
            "k": self.k,
            "reach": {name: figure.to_json() for name, figure in self.reach.items()},
            "joint": self.joint.to_json(),
            "balance": self.balance.to_json(),
        }


def average(
    curves: Curves, dimensions: Sequence[str], resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> list[MeanPoint]:
    """Means over prompts with bootstrap intervals over prompts, one point per k.

    A mean at k is over the prompts that have k samples, whose number it carries: where scores are missing, points of
    different k may rest on different prompts, and only then can an averaged curve fall.
    """
    if curves.reach.shape[-1] != len(dimensions):
        raise ValueError(f"{curves.reach.shape[-1]} dimensions in the curves, {len(dimensions)} names")
    stacked = np.concatenate(
        [curves.reach, curves.joint[..., None], curves.balance[..., None]], axis=-1
    )  # [P, G, K+2]
    means = present_mean(stacked)
    prompts = (~np.isnan(stacked)).sum(axis=0)
    resampled = resampled_means(stacked, resamples, seed)

    def figure(g: int, column: int) -> Interval:
        present = int(prompts[g, column])
        return Interval(float(means[g, column]), *bounds(resampled[:, g, column], present, level), present)

    size = len(dimensions)
    return [
        MeanPoint(k, {name: figure(g, m) for m, name in enumerate(dimensions)}, figure(g, size), figure(g, size + 1))
        for g, k in enumerate(curves.ks)
    ]
