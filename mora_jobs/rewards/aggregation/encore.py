"""ENCORE (arXiv 2503.20995): rewards whose ratings are concentrated count for more than those whose ratings are spread.

    H_k = −Σ_v f_k(v) ln f_k(v)        w_k = exp(−H_k/τ) / Σ_j exp(−H_j/τ)

f_k is the share of rating v among all ratings of reward k: both answers of each pair in the paper, all rollouts here.
The source does not state the base of the logarithm; ours is e, so H is in nats and five levels give at most ln 5 = 1.609.
At the default τ = 2 the largest ratio of two weights is then exp(1.609/2) = 2.24: ENCORE is a soft choice.

It rests on an assumption: a noisy reward has a flat histogram. Where rewards have equal histograms and unequal noise it
says nothing (docs/rewards.md has the figures of both cases).
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora_jobs import api
from mora_jobs.rewards.aggregation.plain import one_hot, uniform

log = logging.getLogger(__name__)
COLLAPSED = 0.98  # share of one level from which a reward is hardly more than a constant


def encore(entropy: Mapping[str, float | None], temperature: float) -> dict[str, float]:
    """Weights by reward, in the order of `entropy` (nats; None: a single observed level), summing to 1.

    A single observed level has H = 0, would get the largest weight and tells nothing: it gets none, with a warning (ours;
    the paper has no such reward). When no reward varies the weights are uniform, with a warning.
    """
    informative = _informative(entropy, "ENCORE gives it no weight")
    if not informative:
        return uniform(list(entropy))
    least = min(informative.values())  # exp(−(H − least)/τ): no underflow at low temperatures
    mass = {name: float(np.exp(-(value - least) / temperature)) for name, value in informative.items()}
    total = sum(mass.values())
    return {name: mass.get(name, 0.0) / total for name in entropy}


def least_entropy(entropy: Mapping[str, float | None]) -> dict[str, float]:
    """All weight for the reward of least entropy, the limit of ENCORE at τ → 0; of equals for the first by name."""
    informative = _informative(entropy, "it is not chosen")
    if not informative:
        return uniform(list(entropy))
    chosen = min(sorted(informative), key=lambda name: informative[name])
    log.info("reward %r has the least entropy (%.3f nats) and alone makes the overall score", chosen, entropy[chosen])
    return one_hot(entropy, chosen)


def entropies(
    rewards: Sequence[api.Reward],
    raw: Mapping[str, ArrayLike],
    bins: int,
    rated: Mapping[str, ArrayLike] | None = None,
) -> dict[str, float | None]:
    """Entropy in nats of each reward's ratings `raw` (NaN: no rating); None with fewer than two observed levels.

    `rated`: of rewards that are heads fitted to ratings, how often each rating was given. It goes first: the outputs of a
    regression that has learned nothing all lie at the mean, and their entropy would be the least.

    Other ratings are counted at the nearest declared level (`levels`, or a judge's levels), else in `bins` bins of equal
    width between the extremes: the entropy is over ratings, never over densities, which tell less according to the paper.
    """
    given = {name: np.asarray(counts, dtype=np.int64) for name, counts in (rated or {}).items()}
    found: dict[str, float | None] = {}
    for reward in rewards:
        counts = given[reward.name] if reward.name in given else _histogram(reward, raw[reward.name], bins)
        found[reward.name] = _entropy(counts)
        if found[reward.name] is not None and counts.max() >= COLLAPSED * counts.sum():
            share = counts.max() / counts.sum()
            log.warning(
                "reward %r: %.1f %% of its ratings are one level. Its entropy is low because it hardly varies",
                reward.name,
                100 * share,
            )
    return found


def _informative(entropy: Mapping[str, float | None], consequence: str) -> dict[str, float]:
    informative = {name: value for name, value in entropy.items() if value is not None}
    for name, value in entropy.items():
        if value is None:
            log.warning("reward %r has a single observed level: %s", name, consequence)
    if not informative:
        log.warning("no reward varies: the weights are uniform")
    return informative


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
