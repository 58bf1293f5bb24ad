"""Win rates of a prompt's candidates against the behaviour policy that drew them (MOPO, arXiv 2505.10892).

The paper's preference models are p(y ≻ y' | x), and p̄(x, y) = E_{y' ~ μ} p(y ≻ y' | x). The m candidates of a prompt are
samples of μ, so p̄ of a candidate is its mean over the others. That the preferences come from calibrated scores is our own
reading: the paper needs no score for each answer. Averaged preferences are what the closed forms take: a single label
(0 or 1) instead of p̄ multiplies the mean weight by 89 at temperature 0.08.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit  # type: ignore[import-untyped]

Floats = NDArray[np.float64]
Preference = Callable[[Floats], Floats]
"""From gaps u_i − u_j, of any shape, to the probabilities that i is preferred."""


def by_comparison(gap: Floats) -> Floats:
    """1 for the higher score, ½ for equal ones, 0 for the lower."""
    return (1 + np.sign(gap)) / 2


def bradley_terry(scale: float) -> Preference:
    """σ(scale · (u_i − u_j)). ValueError unless scale is positive."""
    if not scale > 0:
        raise ValueError(f"the scale of Bradley–Terry preferences must be positive, not {scale:g}")

    def preferred(gap: Floats) -> Floats:
        probabilities: Floats = expit(scale * gap)
        return probabilities

    return preferred


def win_rates(scores: ArrayLike, preference: Preference = by_comparison) -> Floats:
    """[m, K] win rates of m candidates against the others, from their scores [m, K]; the mean of each column is ½.

    A candidate never meets itself: that would shrink p̄ − ½ by (m − 1)/m and so, silently, raise the temperature.
    ValueError for fewer than two candidates and for a score that is missing.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or len(table) < 2:
        raise ValueError(f"win rates need scores [m, K] of at least 2 candidates, not {list(table.shape)}")
    if not np.isfinite(table).all():
        raise ValueError("win rates need a score of every candidate on every objective")
    wins = preference(table[:, None] - table[None])
    itself = preference(np.zeros(table.shape[1]))
    rates: Floats = (wins.sum(axis=1) - itself) / (len(table) - 1)
    return rates
