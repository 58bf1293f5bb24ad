"""What the best of k rollouts attains, estimated without bias from N rollouts of the same prompt.

All k-subsets of the N samples are averaged in closed form (the U-statistic that pass@k uses, Chen et al. 2021,
arXiv 2107.03374, §2.1), so that a curve needs no resampling and costs one sort.  Scores u are calibrated: in [0, 1],
higher is better.

Missing scores are NaN, and a sample with a missing score is left out: of reach when that dimension is missing, of
joint and balance when any dimension is.  Each prompt then has its own number n ≤ N of samples, and its estimate is
NaN (null in artifacts) at every k > n, because the best of k cannot be estimated from fewer than k samples.  This
stays unbiased only if scores go missing independently of their value.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def k_grid(n: int, points: int = 12) -> list[int]:
    """The k at which curves are drawn: 1, 2, 4, … and N itself, at most `points` of them (≥ 2).

    Beyond 2048 samples the powers of two would be too many, and the grid is geometric from 1 to N instead.
    """
    if n < 1:
        raise ValueError(f"a curve needs at least one sample, not {n}")
    powers = [1 << i for i in range(n.bit_length()) if 1 << i < n]
    if len(powers) < points:
        return [*powers, n]
    return sorted({int(k) for k in np.rint(np.geomspace(1, n, points))})


def reach(u: ArrayLike, ks: Sequence[int]) -> Floats:
    """reach(k) = E[max of k of the N samples drawn without replacement], for one dimension.

    u: [..., N] scores, NaN = missing.  ks: G integers ≥ 1, in any order.  Returns [..., G] in the unit of u, NaN where
    k exceeds the samples present.  ValueError for k < 1 or an infinite score.
    reach(k) = Σ_i u_(i) · C(i−1, k−1) / C(n, k) over ascending order statistics: the i-th smallest is the maximum of
    exactly C(i−1, k−1) of the C(n, k) subsets.
    """
    scores = np.asarray(u, dtype=np.float64)
    grid = _checked(ks)
    if np.isinf(scores).any():
        raise ValueError("scores must be finite; a missing score is NaN")
    rows = np.sort(scores.reshape(-1, scores.shape[-1]), axis=-1)  # NaN sorts last
    present = rows.shape[-1] - np.isnan(rows).sum(axis=-1)
    curve = np.full((len(rows), len(grid)), np.nan)
    for n in np.unique(present[present > 0]):  # prompts that miss equally many scores share their weights
        fits, chosen = np.flatnonzero(grid <= n), np.flatnonzero(present == n)
        weights = maximum_weights(int(n), tuple(grid[fits].tolist()))
        # not a BLAS product, whose last bits depend on the batch: a prompt's figures must not depend on its neighbours
        curve[np.ix_(chosen, fits)] = np.einsum("pi,gi->pg", rows[chosen, :n], weights)
    return curve.reshape(*scores.shape[:-1], len(grid))


def joint(u: ArrayLike, tau: ArrayLike, ks: Sequence[int]) -> Floats:
    """joint(k) = P(at least one of k samples has u_m ≥ tau on every dimension m at once).

    u: [..., N, K] scores, NaN = missing.  tau: a level, or K of them.  Returns [..., G] probabilities, NaN where k
    exceeds the complete samples.
    joint(k) = 1 − C(n−c, k) / C(n, k), where c of the n complete samples hit the level (pass@k, arXiv 2107.03374).
    At k = n it is 0 or 1, never between: the best of all samples is known.
    """
    scores = np.asarray(u, dtype=np.float64)
    grid = _checked(ks)
    complete = ~np.isnan(scores).any(axis=-1)
    hits = (scores >= np.asarray(tau)).all(axis=-1).sum(axis=-1).reshape(-1)  # NaN is never a hit
    present = complete.sum(axis=-1).reshape(-1)
    curve = np.full((len(hits), len(grid)), np.nan)
    for n in np.unique(present[present > 0]):
        fits, chosen = np.flatnonzero(grid <= n), np.flatnonzero(present == n)
        misses = miss_probabilities(int(n), tuple(grid[fits].tolist()))
        curve[np.ix_(chosen, fits)] = 1.0 - misses[hits[chosen]]
    return curve.reshape(*scores.shape[:-2], len(grid))


def balance(u: ArrayLike, ks: Sequence[int]) -> Floats:
    """balance(k) = E[max over k samples of min over dimensions]: how high the worst dimension can be had.

    u: [..., N, K] scores, NaN = missing.  Returns [..., G] in the unit of u, NaN where k exceeds the complete samples.
    Same estimator as `reach`, on s_i = min_m u_im (NaN if any dimension of sample i is missing).
    """
    return reach(np.asarray(u, dtype=np.float64).min(axis=-1), ks)


@lru_cache(maxsize=4096)
def maximum_weights(n: int, ks: tuple[int, ...]) -> Floats:
    """[G, n] weights C(i−1, k−1) / C(n, k) of the order statistics i = 1 … n; each row sums to 1.

    Built downwards from w_n = k/n by w_(i−1) = w_i · (i−k)/(i−1): products of ratios ≤ 1, so that no binomial is ever
    formed (C(1024, 512) ≈ 4.5e306) and every weight has a relative error of about n · 1e-16.
    """
    k = np.asarray(ks, dtype=np.float64)[:, None]
    i = np.arange(n, 1, -1, dtype=np.float64)
    steps = np.maximum(i - k, 0.0) / (i - 1.0)
    weights = np.empty((len(ks), n))
    weights[:, ::-1] = np.cumprod(np.hstack([k / n, steps]), axis=1)
    weights.setflags(write=False)  # cached
    return weights


@lru_cache(maxsize=4096)
def miss_probabilities(n: int, ks: tuple[int, ...]) -> Floats:
    """[n + 1, G] probabilities C(n−c, k) / C(n, k) that k of n samples hold none of the c hits, c = 0 … n.

    = Π_{j<c} (n−k−j) / (n−j), again a product of ratios ≤ 1.
    """
    k = np.asarray(ks, dtype=np.float64)[None, :]
    j = np.arange(n, dtype=np.float64)[:, None]
    steps = np.maximum(n - k - j, 0.0) / (n - j)
    misses = np.ones((n + 1, len(ks)))
    misses[1:] = np.cumprod(steps, axis=0)
    misses.setflags(write=False)  # cached
    return misses


def _checked(ks: Sequence[int]) -> NDArray[np.int64]:
    grid = np.asarray(ks, dtype=np.int64)
    if grid.ndim != 1 or (grid < 1).any():
        raise ValueError(f"k must be integers ≥ 1, not {list(ks)}")
    return grid
