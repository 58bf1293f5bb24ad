"""Weights of Uniform, Fixed and ENCORE, and the overall score."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mora_jobs import api
from mora_jobs.rewards.aggregation import _encore, entropies, overall, weights

PAPER = {"a": math.log(5), "b": 1.2, "c": 0.8, "d": 0.4, "e": 0.0}


def reward(name: str, levels: list[float] | None = None) -> api.Reward:
    return api.Reward(name=name, levels=levels, python=api.PythonReward(callable="m:f"))


def encore(temperature: float = 2.0, bins: int = 10) -> api.Aggregation:
    return api.Aggregation(method="ENCORE", temperature=temperature, bins=bins)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    {
        2.0: (0.1283, 0.1575, 0.1923, 0.2349, 0.2869),
        0.5: (0.0225, 0.0509, 0.1133, 0.2522, 0.5612),
        2.0 * math.log(2): (0.1029, 0.1382, 0.1844, 0.2461, 0.3284),  # entropies in bits at τ = 2
    }.items(),
)
def test_encore_gives_the_published_weights(temperature, expected):
    assert list(_encore(PAPER, temperature).values()) == pytest.approx(expected, abs=1e-4)


def test_entropy_is_in_nats_over_the_declared_levels():
    flat = np.tile([1, 2, 3, 4, 5], 20)
    peaked = np.array([1] * 50 + [2] * 50)
    noisy = flat + np.linspace(-0.4, 0.4, flat.size)  # a judge's expectation lies between levels: the nearest counts
    rewards = [reward(name, [1, 2, 3, 4, 5]) for name in ("flat", "peaked", "noisy")]
    found = entropies(encore(), rewards, {"flat": flat, "peaked": peaked, "noisy": noisy})
    assert found == pytest.approx({"flat": math.log(5), "peaked": math.log(2), "noisy": math.log(5)})


def test_a_judges_own_levels_count_and_else_equal_width_bins():
    judge = api.Reward(name="j", judge=api.JudgeReward(model=api.ModelRef(uri="file://m"), rubric="r", levels=[1, 2]))
    raw = {"j": [1, 1, 2, 2], "h": np.linspace(0, 1, 1000)}
    found = entropies(encore(bins=4), [judge, reward("h")], raw)
    assert found["j"] == pytest.approx(math.log(2))
    assert found["h"] == pytest.approx(math.log(4), abs=1e-4)


@pytest.mark.parametrize("levels", [[0.0, 1.0], None])
def test_a_constant_head_is_dropped_with_a_warning(levels, caplog):
    raw = {"dead": [1.0] * 9 + [math.nan], "alive": [0.0, 1.0] * 5}
    found = weights(encore(), [reward("dead", levels), reward("alive", levels)], raw)
    assert found == {"dead": 0.0, "alive": 1.0}
    assert "'dead'" in caplog.text


def test_when_nothing_varies_weights_are_uniform(caplog):
    found = weights(encore(), [reward("a"), reward("b")], {"a": [1.0, 1.0], "b": [math.nan, math.nan]})
    assert found == {"a": 0.5, "b": 0.5}
    assert "uniform" in caplog.text


entropy_lists = st.lists(st.floats(0, 5), min_size=2, max_size=8)


@given(entropy_lists, st.floats(0.01, 100), st.randoms())
def test_encore_is_a_distribution_and_ignores_the_order(values, temperature, random):
    named = [(str(index), value) for index, value in enumerate(values)]
    found = _encore(dict(named), temperature)
    assert sum(found.values()) == pytest.approx(1)
    random.shuffle(named)
    assert _encore(dict(named), temperature) == pytest.approx(found)


@given(entropy_lists)
def test_encore_is_uniform_at_high_and_one_hot_at_low_temperature(values):
    named = {str(index): value for index, value in enumerate([-1.0, *values])}
    assert list(_encore(named, 1e7).values()) == pytest.approx([1 / len(named)] * len(named), abs=1e-5)
    assert _encore(named, 1e-3)["0"] == pytest.approx(1)


def test_uniform_and_fixed_need_no_ratings():
    rewards = [reward("a"), reward("b")]
    fixed = api.Aggregation(method="Fixed", weights=[{"name": "b", "weight": 0.7}, {"name": "a", "weight": 0.3}])
    assert weights(api.Aggregation(), rewards, {}) == {"a": 0.5, "b": 0.5}
    assert list(weights(fixed, rewards, {}).items()) == [("a", 0.3), ("b", 0.7)]


def test_overall_is_missing_where_a_weighted_reward_is_missing():
    u = np.array([[[0.2, 0.6], [math.nan, 0.6]], [[0.4, math.nan], [1.0, 1.0]]])
    both = overall(u, {"a": 0.25, "b": 0.75})
    assert both.shape == (2, 2)
    assert both[0, 0] == pytest.approx(0.5)
    assert np.isnan([both[0, 1], both[1, 0]]).all()
    assert overall(u, [1.0, 0.0])[1, 0] == pytest.approx(0.4)
