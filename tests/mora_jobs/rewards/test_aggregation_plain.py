"""Weights that look at no ratings: Uniform, Fixed, Random and a named reward."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mora_jobs.rewards.aggregation.plain import fixed, one_hot, random, uniform

NAMES = ["a", "b", "c"]


def test_uniform_fixed_and_one_hot_keep_the_order_of_the_rewards():
    assert list(uniform(NAMES).items()) == [("a", 1 / 3), ("b", 1 / 3), ("c", 1 / 3)]
    assert list(fixed(NAMES, {"c": 0.5, "a": 0.2, "b": 0.3}).items()) == [("a", 0.2), ("b", 0.3), ("c", 0.5)]
    assert sum(fixed(NAMES, {"a": 0.3334, "b": 0.3334, "c": 0.3334}).values()) == pytest.approx(1)
    assert list(one_hot(NAMES, "b").items()) == [("a", 0.0), ("b", 1.0), ("c", 0.0)]


@given(st.integers(0, 2**31 - 1), st.permutations(["helpful", "harmless", "wahr", "länge"]))
def test_random_is_a_point_of_the_simplex_that_hangs_on_the_seed_and_the_names_alone(seed, names):
    found = random(names, seed)
    assert list(found) == names
    assert sum(found.values()) == pytest.approx(1)
    assert all(weight > 0 for weight in found.values())
    assert found == pytest.approx(random(sorted(names), seed))
    assert found != random(names, seed + 1)


def test_random_is_uniform_over_the_simplex():
    drawn = np.array([list(random(NAMES, seed).values()) for seed in range(2000)])
    assert drawn.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.02)
    # Dirichlet(1, 1, 1): the variance of each weight is 2/(9 · 4), and P(w < t) = 1 − (1 − t)².
    assert drawn.var(axis=0) == pytest.approx([1 / 18] * 3, abs=0.005)
    assert (drawn < 0.5).mean(axis=0) == pytest.approx([0.75] * 3, abs=0.03)
