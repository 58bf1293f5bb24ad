"""RuleAdapter (arXiv 2501.15453): for each prompt the rewards ("rules") that tell its answers apart, predicted from its text.

    t_pk = mean_{i<j} |u_ik − u_jk|  over the rollouts i, j of prompt p       what is learned
    t̂_p  = A e(p) + a                                                         multi-output ridge on the prompt's embedding
    w_pk = 1/m for the m largest t̂_pk, else 0                                 uniform over the chosen rules

The paper takes for each pair the 5 of 100 rules with the largest difference |ψ_k(y) − ψ_k(y′)| (relevant ones only) and
trains an adapter, a classifier of (prompt, both answers), to name them. Our own reading: the average over a prompt's pairs
of rollouts instead of one pair, so that one choice serves all answers to a prompt; a linear regression of all t_p instead
of a classifier; the prompt alone as input, so that it can be asked before there are answers; no test of relevance.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import RidgeCV  # type: ignore[import-untyped]
from sklearn.model_selection import KFold  # type: ignore[import-untyped]

from mora_jobs.estimators.bootstrap import mean_interval, present_mean

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]
STRENGTHS = tuple(10.0**power for power in range(-3, 5))  # of the penalty, on embeddings of length 1
FOLDS = 5
MIN_PROMPTS = 20


@dataclass(frozen=True)
class Adapter:
    """The regression, and how many rules a prompt gets."""

    coefficients: Floats
    """[K, D]; zero where there was too little to learn from, so that all prompts get the same rules."""
    intercept: Floats
    """[K]."""
    rules: int
    figures: Mapping[str, Any]
    """Cross-validated over prompts; see `_figures`. Empty where nothing was learned."""

    def predict(self, embeddings: ArrayLike) -> Floats:
        """[P, K] how far each reward is expected to tell the answers apart, from embeddings [P, D] of prompts."""
        return np.asarray(np.asarray(embeddings, dtype=np.float64) @ self.coefficients.T + self.intercept)

    def weights(self, predicted: Floats) -> Floats:
        """[P, K]: 1/m for the m largest of each row, 0 for the others."""
        return top(predicted, self.rules) / self.rules

    def to_json(self) -> dict[str, Any]:
        return {
            "coefficients": self.coefficients.tolist(),
            "intercept": self.intercept.tolist(),
            "rules": self.rules,
            "figures": dict(self.figures),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        coefficients, intercept = (np.asarray(document[key], np.float64) for key in ("coefficients", "intercept"))
        return cls(coefficients, intercept, document["rules"], document["figures"])


def separation(u: ArrayLike) -> Floats:
    """t [K] of calibrated scores u [N, K]: the mean of |u_i − u_j| over pairs (Gini's mean difference).

    Missing scores are left out; NaN where fewer than two are there.
    """
    return np.array([_mean_difference(column[~np.isnan(column)]) for column in np.asarray(u, np.float64).T])


def fit_adapter(names: Sequence[str], embeddings: ArrayLike, separations: ArrayLike, rules: int) -> Adapter:
    """Fit on P different prompts: embeddings [P, D], separations [P, K] (NaN: not known; such prompts are left out).

    The penalty is chosen for each reward by leave-one-out errors, within each fold too. With fewer than 20 prompts the
    rules are the same for all prompts, those that separate most on average; with no separation at all (one rollout per
    prompt, constant rewards) the weights are uniform. Both are logged.
    """
    x, t = np.asarray(embeddings, np.float64), np.asarray(separations, np.float64)
    if rules >= len(names):
        log.warning("RuleAdapter chooses %d of %d rewards: the weights of every prompt are uniform", rules, len(names))
    mean = np.nan_to_num(present_mean(t)) if len(t) else np.zeros(len(names))
    everywhere = np.zeros((len(names), x.shape[1]))
    if not mean.any():
        log.warning("no reward tells two answers to one prompt apart: the weights are uniform")
        return Adapter(everywhere, mean, len(names), {})
    whole = ~np.isnan(t).any(axis=1)
    if whole.sum() < MIN_PROMPTS:
        log.warning(
            "%d prompts have two scores on every reward, RuleAdapter needs %d: the same rules are used for every prompt",
            whole.sum(),
            MIN_PROMPTS,
        )
        return Adapter(everywhere, mean, min(rules, len(names)), {})
    return _fit(names, x[whole], t[whole], min(rules, len(names)))


def top(values: Floats, count: int) -> NDArray[np.bool_]:
    """[P, K] True at the `count` largest of each row; of equals the first."""
    chosen = np.argsort(-values, axis=1, kind="stable")[:, :count]
    mask = np.zeros(values.shape, np.bool_)
    np.put_along_axis(mask, chosen, True, axis=1)
    return mask


def _fit(names: Sequence[str], x: Floats, t: Floats, rules: int) -> Adapter:
    predicted, constant = np.empty_like(t), np.empty_like(t)
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(x):
        predicted[test] = _ridge(x[train], t[train]).predict(x[test]).reshape(len(test), -1)
        constant[test] = t[train].mean(axis=0)
    figures = _figures(names, t, predicted, constant, rules)
    log.info(
        "RuleAdapter names %.2f of the %d most separating rules of prompts that it has not seen (the same rules for all: %.2f)",
        figures["hits"]["value"],
        rules,
        figures["constantHits"]["value"],
    )
    if rules < len(names) and figures["gain"]["low"] <= 0:
        log.warning("RuleAdapter is not better than the same rules for every prompt, beyond chance")
    model = _ridge(x, t)
    return Adapter(np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_), rules, figures)


def _ridge(x: Floats, t: Floats) -> Any:
    return RidgeCV(alphas=STRENGTHS, alpha_per_target=t.shape[1] > 1).fit(x, t)


def _figures(names: Sequence[str], t: Floats, predicted: Floats, constant: Floats, rules: int) -> dict[str, Any]:
    """On unseen prompts: `hits`, the share of the m truly most separating rules among the m predicted; `constantHits`,
    the same for the rules that separate most on average; `gain`, the difference; all with 95 % intervals over prompts.
    `pearson` of predicted and true separation by reward (null where one is constant)."""
    truth = top(t, rules)
    hits, constant_hits = ((truth & top(each, rules)).sum(axis=1) / rules for each in (predicted, constant))
    return {
        "hits": mean_interval(hits).to_json(),
        "constantHits": mean_interval(constant_hits).to_json(),
        "gain": mean_interval(hits - constant_hits).to_json(),
        "pearson": {name: _pearson(t[:, k], predicted[:, k]) for k, name in enumerate(names)},
        "prompts": len(t),
    }


def _mean_difference(values: Floats) -> float:
    n = len(values)
    if n < 2:
        return float("nan")
    ranks = (
        2.0 * np.arange(1, n + 1) - n - 1
    )  # how often each ordered value is the larger one, less how often the smaller
    return float(2.0 * (ranks @ np.sort(values)) / (n * (n - 1)))


def _pearson(a: Floats, b: Floats) -> float | None:
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else None
