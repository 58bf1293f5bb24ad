"""ENCORE (arXiv 2503.20995): entropies in nats, weights, and rewards that do not vary."""

import logging
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mora_jobs import api
from mora_jobs.rewards.aggregation.encore import encore, entropies, least_entropy

PAPER = {"a": math.log(5), "b": 1.2, "c": 0.8, "d": 0.4, "e": 0.0}


def reward(name: str, levels: list[float] | None = None) -> api.Reward:
    return api.Reward(name=name, levels=levels, python=api.PythonReward(callable="m:f"))


@pytest.mark.parametrize(
    ("temperature", "expected"),
    {
        2.0: (0.1283, 0.1575, 0.1923, 0.2349, 0.2869),
        0.5: (0.0225, 0.0509, 0.1133, 0.2522, 0.5612),
        2.0 * math.log(2): (0.1029, 0.1382, 0.1844, 0.2461, 0.3284),  # entropies in bits at τ = 2
    }.items(),
)
def test_encore_gives_the_published_weights(temperature, expected):
    assert list(encore(PAPER, temperature).values()) == pytest.approx(expected, abs=1e-4)


def test_entropy_is_in_nats_over_the_declared_levels():
    flat = np.tile([1, 2, 3, 4, 5], 20)
    peaked = np.array([1] * 50 + [2] * 50)
    noisy = flat + np.linspace(-0.4, 0.4, flat.size)  # a judge's expectation lies between levels: the nearest counts
    rewards = [reward(name, [1, 2, 3, 4, 5]) for name in ("flat", "peaked", "noisy")]
    found = entropies(rewards, {"flat": flat, "peaked": peaked, "noisy": noisy}, bins=10)
    assert found == pytest.approx({"flat": math.log(5), "peaked": math.log(2), "noisy": math.log(5)})


def test_a_judges_own_levels_count_and_else_equal_width_bins():
    judge = api.Reward(name="j", judge=api.JudgeReward(model=api.ModelRef(uri="file://m"), rubric="r", levels=[1, 2]))
    raw = {"j": [1, 1, 2, 2], "h": np.linspace(0, 1, 1000)}
    found = entropies([judge, reward("h")], raw, bins=4)
    assert found["j"] == pytest.approx(math.log(2))
    assert found["h"] == pytest.approx(math.log(4), abs=1e-4)


@pytest.mark.parametrize("levels", [[0.0, 1.0], None])
def test_a_constant_head_is_dropped_with_a_warning(levels, caplog):
    raw = {"dead": [1.0] * 9 + [math.nan], "alive": [0.0, 1.0] * 5}
    found = entropies([reward("dead", levels), reward("alive", levels)], raw, bins=10)
    assert found["dead"] is None
    assert encore(found, 2.0) == least_entropy(found) == {"dead": 0.0, "alive": 1.0}
    assert "'dead' has a single observed level: ENCORE gives it no weight" in caplog.text


def test_when_nothing_varies_weights_are_uniform(caplog):
    found = entropies([reward("a"), reward("b")], {"a": [1.0, 1.0], "b": [math.nan, math.nan]}, bins=10)
    assert encore(found, 2.0) == least_entropy(found) == {"a": 0.5, "b": 0.5}
    assert "no reward varies: the weights are uniform" in caplog.text


@pytest.mark.parametrize(("rare", "warned"), [(1, True), (20, True), (21, False)])
def test_a_head_that_hardly_varies_is_told(rare, warned, caplog):
    raw = [1.0] * (1000 - rare) + [5.0] * rare
    found = entropies([reward("collapsed", [1, 2, 3, 4, 5])], {"collapsed": raw}, bins=10)
    assert 0 < found["collapsed"] < 0.11
    assert ("its entropy is low because it hardly varies" in caplog.text.lower()) is warned


def test_the_least_entropy_decides_alone_and_says_so(caplog):
    caplog.set_level(logging.INFO)
    assert least_entropy({"a": 0.7, "b": 0.2, "c": None}) == {"a": 0.0, "b": 1.0, "c": 0.0}
    assert "'b' has the least entropy (0.200 nats)" in caplog.text
    assert least_entropy({"b": 0.2, "a": 0.2}) == {"b": 0.0, "a": 1.0}, "of equals the first by name"


entropy_lists = st.lists(st.floats(0, 5), min_size=2, max_size=8)


@given(entropy_lists, st.floats(0.01, 100), st.randoms())
def test_encore_is_a_distribution_and_ignores_the_order(values, temperature, random):
    named = [(str(index), value) for index, value in enumerate(values)]
    found = encore(dict(named), temperature)
    assert sum(found.values()) == pytest.approx(1)
    random.shuffle(named)
    assert encore(dict(named), temperature) == pytest.approx(found)


@given(entropy_lists)
def test_encore_is_uniform_at_high_and_one_hot_at_low_temperature(values):
    named = {str(index): value for index, value in enumerate([-1.0, *values])}
    assert list(encore(named, 1e7).values()) == pytest.approx([1 / len(named)] * len(named), abs=1e-5)
    assert encore(named, 1e-3)["0"] == pytest.approx(1)
