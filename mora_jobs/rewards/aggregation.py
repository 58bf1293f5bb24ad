"""Aggregation: several calibrated rewards become one overall score, by weights that are computed once."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora_jobs import api

log = logging.getLogger(__name__)


def weights(
    aggregation: api.Aggregation, rewards: Sequence[api.Reward], raw: Mapping[str, ArrayLike]
) -> dict[str, float]:
    """The weight of each reward, in the order of `rewards`; they sum to 1.

    ENCORE (arXiv 2503.20995): w ∝ exp(−H/τ), H in nats over the ratings in `raw` (NaN: no rating). A reward with one
    observed level has H = 0, would get the largest weight and tells nothing: it is dropped, with a warning.
    """
    names = [reward.name for reward in rewards]
    if aggregation.method is api.AggregationMethod.FIXED:
        given = {weight.name: weight.weight for weight in aggregation.weights}
        total = sum(given.values())
        return {name: given[name] / total for name in names}
    if aggregation.method is api.AggregationMethod.UNIFORM:
        return {name: 1 / len(names) for name in names}
    return _encore(entropies(aggregation, rewards, raw), aggregation.temperature)


def entropies(
    aggregation: api.Aggregation, rewards: Sequence[api.Reward], raw: Mapping[str, ArrayLike]
) -> dict[str, float | None]:
    """Entropy in nats of each reward's ratings; None for a reward with fewer than two observed levels.

    Ratings are counted at the nearest declared level (`levels`, or a judge's levels), else in `aggregation.bins` bins of equal width
    between the extremes.
    """
    return {reward.name: _entropy(_histogram(reward, raw[reward.name], aggregation.bins)) for reward in rewards}


def overall(u: ArrayLike, weight: Mapping[str, float] | ArrayLike) -> NDArray[np.float64]:
    """Σ w_k u_k over the last axis of u[..., K]; a mapping's order is that of the axis.

    NaN where a reward with a weight is missing: a missing score must not look like a low one.
    """
    w = np.asarray(list(weight.values()) if isinstance(weight, Mapping) else weight, dtype=np.float64)
    scores = np.asarray(u, dtype=np.float64)
    return np.asarray(scores[..., w > 0] @ w[w > 0])


def _encore(entropy: Mapping[str, float | None], temperature: float) -> dict[str, float]:
    informative = {name: value for name, value in entropy.items() if value is not None}
    for name in entropy.keys() - informative.keys():
        log.warning("reward %r has a single observed level: ENCORE gives it no weight", name)
    if not informative:
        log.warning("no reward varies: ENCORE falls back to uniform weights")
        return {name: 1 / len(entropy) for name in entropy}
    least = min(informative.values())  # exp(−(H − least)/τ): no underflow at low temperatures
    mass = {name: float(np.exp(-(value - least) / temperature)) for name, value in informative.items()}
    total = sum(mass.values())
    return {name: mass.get(name, 0.0) / total for name in entropy}


def _histogram(reward: api.Reward, raw: ArrayLike, bins: int) -> NDArray[np.int64]:
    values = np.asarray(raw, dtype=np.float64).ravel()
    values = values[~np.isnan(values)]
    declared = reward.levels or (reward.judge.levels if reward.judge else None)
    if declared is None:
        return np.asarray(np.histogram(values, bins)[0] if np.unique(values).size > 1 else [values.size], np.int64)
    levels = np.unique(np.asarray(declared, dtype=np.float64))
    nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, values)
    return np.bincount(nearest, minlength=len(levels))


def _entropy(counts: NDArray[np.int64]) -> float | None:
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(share * np.log(share)).sum()) if len(share) > 1 else None
