"""The weights that look at no ratings: uniform, given, random, one reward alone. The baselines of ENCORE among them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np


def uniform(names: Sequence[str]) -> dict[str, float]:
    """1/K for each of K rewards."""
    return {name: 1 / len(names) for name in names}


def fixed(names: Sequence[str], given: Mapping[str, float]) -> dict[str, float]:
    """The given weights, scaled to a sum of exactly 1 (validation lets 0.999 … 1.001 pass)."""
    total = sum(given.values())
    return {name: given[name] / total for name in names}


def random(names: Sequence[str], seed: int) -> dict[str, float]:
    """A uniformly drawn point of the simplex (Dirichlet(1, …, 1)): normalised exponential variables.

    ENCORE's random baseline (arXiv 2503.20995) does not say how it draws; this is our own reading. Each variable hangs on
    the seed and the reward's name alone, so the order of the rewards changes nothing.
    """
    drawn = {name: float(np.random.default_rng([seed, *name.encode()]).exponential()) for name in names}
    return fixed(names, drawn)


def one_hot(names: Iterable[str], chosen: str) -> dict[str, float]:
    """All of the weight for one reward."""
    return {name: float(name == chosen) for name in names}
