"""The learned gate: weights that explain labelled pairs, the baseline that ENCORE is compared with (arXiv 2503.20995).

    w = argmin_{w ≥ 0}  mean_i ln(1 + exp(−⟨w, d_i⟩)) + λ/2 ‖w‖²,    d_i = u(chosen_i) − u(rejected_i)

Bradley–Terry with non-negative weights. A reward whose scores have nothing to do with the labels gets almost no gradient
and stays near 0, which is the paper's argument for weighing such rewards down.

The paper compares with the weights of a learned mixture-of-experts gate, of which we know no more; one weight per reward,
the ridge λ, and what is done about ties and missing scores are our own reading.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]
from scipy.special import expit  # type: ignore[import-untyped]
from sklearn.model_selection import GroupKFold  # type: ignore[import-untyped]

from mora_jobs.errors import UserError
from mora_jobs.estimators.bootstrap import Interval, bounds, resampled_means
from mora_jobs.rewards.aggregation.plain import fixed, uniform
from mora_jobs.rewards.aggregation.weights import overall

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]
RIDGE = 1e-3  # λ: bounds the weights where one reward explains all pairs, and hardly moves them elsewhere
FOLDS = 5
MIN_PAIRS = 20
DECIMALS = 9  # 0.1 + 0.2 − 0.3 is a tie, though not in binary


@dataclass(frozen=True)
class Learned:
    """Weights by reward, summing to 1, and what they are worth."""

    weights: dict[str, float]
    figures: dict[str, Any]
    """Accuracies with 95 % intervals over prompts: `heldOut` of weights that have not seen the prompt, `uniform` and
    `rewards` on the same pairs; `pairs` with every score, `missing` the others."""


def learn(names: Sequence[str], gaps: ArrayLike, prompts: Sequence[str]) -> Learned:
    """Weights from gaps [M, K] of calibrated scores, chosen minus rejected (NaN: no score), and the prompt of each pair.

    Pairs without a score on some reward are left out. Raises UserError when fewer than 20 pairs, or pairs of fewer than
    two prompts, remain. When no reward agrees with the labels the weights are uniform, with a warning.
    """
    given = np.asarray(gaps, dtype=np.float64)
    use = ~np.isnan(given).any(axis=1)
    d, groups = given[use], np.unique(np.asarray(prompts, dtype=object)[use], return_inverse=True)[1]
    if len(d) < MIN_PAIRS or groups.max() < 1:
        lacking = {name: int(np.isnan(given[:, k]).sum()) for k, name in enumerate(names)}
        worst = max(lacking, key=lambda name: lacking[name])
        raise UserError(
            "spec.aggregation.preferences",
            f"{len(d)} of {len(given)} pairs have all scores"
            + (f" (reward {worst!r} lacks {lacking[worst]})" if lacking[worst] else ""),
            f"at least {MIN_PAIRS} pairs of two prompts are needed",
        )
    correct = np.full(len(d), np.nan)
    for train, test in GroupKFold(min(FOLDS, int(groups.max()) + 1)).split(d, groups=groups):
        correct[test] = agreement(overall(d[test], _normed(names, fit(d[train]))))
    weights = fit(d)
    if not weights.any():
        log.warning("no reward agrees with the labels of spec.aggregation.preferences: the weights are uniform")
    columns = [correct, agreement(d.mean(axis=1)), *agreement(d).T]
    held_out, even, *each = _accuracies(np.stack(columns, axis=1), groups)
    figures = {
        "heldOut": held_out,
        "uniform": even,
        "rewards": dict(zip(names, each, strict=True)),
        "pairs": len(d),
        "missing": int((~use).sum()),
    }
    log.info(
        "learned weights order %.3f of the pairs of prompts that they have not seen rightly, uniform weights %.3f",
        held_out["value"],
        even["value"],
    )
    return Learned(_normed(names, weights), figures)


def fit(gaps: Floats, ridge: float = RIDGE) -> Floats:
    """w [K] ≥ 0 of gaps [M, K], not normalised: ⟨w, d⟩ is the log-odds that the chosen answer is preferred."""

    def loss(w: Floats) -> tuple[float, Floats]:
        margins = gaps @ w
        value = np.logaddexp(0.0, -margins).mean() + ridge / 2 * (w @ w)
        return float(value), ridge * w - gaps.T @ expit(-margins) / len(gaps)

    width = gaps.shape[1]
    found = minimize(loss, np.zeros(width), jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * width)
    return np.asarray(found.x, dtype=np.float64)


def agreement(gaps: Floats) -> Floats:
    """1 where the chosen answer scores higher, 0 where it scores lower, 1/2 for a tie."""
    return np.asarray((np.sign(np.round(gaps, DECIMALS)) + 1) / 2)


def _normed(names: Sequence[str], weights: Floats) -> dict[str, float]:
    """The scale of the log-odds is dropped: the overall score is a mean of calibrated scores, and orders alike."""
    return fixed(names, dict(zip(names, weights.tolist(), strict=True))) if weights.any() else uniform(names)


def _accuracies(correct: Floats, groups: NDArray[np.intp]) -> list[dict[str, Any]]:
    """Of each column of [M, C]: the mean over prompts of the share of a prompt's pairs in the right order.

    The 95 % intervals are bootstrap over prompts, with resamples in common.
    """
    share = np.stack([np.bincount(groups, column) for column in correct.T], axis=1) / np.bincount(groups)[:, None]
    resampled = resampled_means(share)
    return [
        Interval(float(share[:, c].mean()), *bounds(resampled[:, c], len(share)), len(share)).to_json()
        for c in range(share.shape[1])
    ]
