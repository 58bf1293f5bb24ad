"""The calibrated score is the mid-distribution function of the calibration scores, for any data."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mora_jobs.errors import UserError
from mora_jobs.rewards.calibration import GRID, Calibration

finite = st.floats(-1e6, 1e6, allow_subnormal=False)
samples = st.lists(st.one_of(finite, st.integers(-3, 3).map(float)), min_size=2, max_size=60)


def mid_distribution(data: list[float], value: float) -> float:
    return (sum(x < value for x in data) + sum(x == value for x in data) / 2) / len(data)


def fit(data, lower: bool = False) -> Calibration:
    return Calibration.fit({"r": data}, {"r"} if lower else set())


@given(samples)
def test_equals_the_definition_on_the_calibration_scores(data):
    expected = [mid_distribution(data, value) for value in data]
    assert fit(data).transform("r", data) == pytest.approx(expected, abs=1e-12)
    assert fit(data).transform("r", data).mean() == pytest.approx(0.5, abs=1e-12)


@given(samples, st.lists(finite, min_size=2, max_size=20))
def test_is_monotone_and_stays_in_the_unit_interval(data, others):
    u = fit(data).transform("r", sorted(others))
    assert np.all((u >= 0) & (u <= 1))
    assert np.all(np.diff(u) >= -1e-15)  # interpolation may round by one unit in the last place


@given(samples, finite)
def test_lower_is_better_is_the_exact_mirror_of_higher(data, value):
    up, down = fit(data), fit(data, lower=True)
    negated = fit([-x for x in data])
    assert down.transform("r", value) == pytest.approx(1 - up.transform("r", value), abs=1e-12)
    assert down.transform("r", value) == pytest.approx(negated.transform("r", -value), abs=1e-12)


@given(samples, st.booleans())
def test_survives_json_bit_for_bit(data, lower):
    calibration = fit(data, lower)
    again = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    probe = np.linspace(-4, 4, 101)
    assert np.array_equal(again.transform("r", probe), calibration.transform("r", probe))
    assert json.dumps(again.to_json()) == json.dumps(calibration.to_json())


@pytest.mark.parametrize("seed", range(3))
def test_many_scores_are_kept_as_few_knots_within_the_promised_error(seed):
    rng = np.random.default_rng(seed)
    data = np.concatenate([rng.normal(size=40_000), np.full(9_000, 0.7), rng.lognormal(size=20_000), [50.0]])
    calibration = fit(data)
    assert len(calibration.curves["r"].values) <= 2 * (GRID + 1)
    values, counts = np.unique(data, return_counts=True)
    exact = (np.cumsum(counts) - counts / 2) / data.size
    assert np.abs(calibration.transform("r", values) - exact).max() < 1 / GRID
    assert calibration.transform("r", 0.7) == pytest.approx(exact[np.searchsorted(values, 0.7)], abs=1e-12)


def test_missing_scores_stay_missing_and_do_not_count():
    calibration = fit([1.0, None, 2.0, math.nan, 3.0, 4.0])
    u = calibration.transform("r", [None, 1.0, math.nan, 4.0])
    assert np.isnan(u[[0, 2]]).all()
    assert u[[1, 3]].tolist() == [0.125, 0.875]
    assert (calibration.curves["r"].count, calibration.curves["r"].missing) == (4, 2)


def test_a_constant_reward_is_one_half_everywhere_and_says_so(caplog):
    calibration = fit([3.0] * 7)
    assert "constant" in caplog.text
    assert calibration.transform("r", [2.0, 3.0, 9.0]).tolist() == [0.5, 0.5, 0.5]
    assert np.isnan(calibration.transform("r", [math.nan]))[0]


def test_shape_is_kept_and_rewards_are_apart():
    calibration = Calibration.fit({"a": [0.0, 1.0], "b": np.array([5.0, 5.0, 7.0])}, {"b"})
    u = calibration.transform("b", np.array([[5.0, 7.0], [6.0, 9.0]]))
    assert u == pytest.approx(np.array([[2 / 3, 1 / 6], [5 / 12, 0.0]]))
    with pytest.raises(KeyError):
        calibration.transform("c", [1.0])


def test_a_reward_without_any_score_is_a_users_mistake():
    with pytest.raises(UserError, match="reward 'r': gave no score for any of 2 responses"):
        fit([None, math.nan])


def test_another_format_is_refused():
    with pytest.raises(UserError, match="format 99"):
        Calibration.from_json({"format": 99, "rewards": {}})
