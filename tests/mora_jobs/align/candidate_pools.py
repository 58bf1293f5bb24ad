"""Pools of candidates for MOPO's tests: a toy whose solutions are known, and random ones."""

import numpy as np
from scipy.special import expit

from mora_jobs.align.solvers.mopo_dual import Pools, rates

R1, R2 = np.array([2, 1.5, 0.5, -0.5, -1]), np.array([-1.5, 0, 0.8, 1.2, 1.5])
P_BAR, Q_BAR = (expit(r[:, None] - r).mean(axis=1) for r in (R1, R2))


def toy() -> Pools:
    """Five answers to one prompt; the behaviour policy is the uniform reference itself, so an answer may meet itself."""
    return Pools(np.zeros(5, dtype=np.intp), P_BAR, Q_BAR[:, None], np.full(5, 0.2))


def random_pools(seed: int, objectives: int, prompts: int = 4, candidates: int = 5) -> Pools:
    rng = np.random.default_rng(seed)
    values = rng.uniform(size=(prompts * candidates, objectives + 1))
    reference = rng.dirichlet(np.full(candidates, 2.0), size=prompts).ravel()
    return Pools(np.repeat(np.arange(prompts), candidates), values[:, 0], values[:, 1:], reference)


def reachable_bounds(pools: Pools, seed: int) -> np.ndarray:
    """What some policy reaches that is not at the edge of the simplex."""
    weights = np.random.default_rng(seed).exponential(size=len(pools.prompt)) ** 2
    policy = weights / pools.sums(weights)[pools.prompt]
    return rates(pools, 0.9 * policy + 0.1 * pools.reference)[1]
