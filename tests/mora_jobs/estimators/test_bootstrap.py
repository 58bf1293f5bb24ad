import math

import numpy as np
import pytest

from mora_jobs.estimators.bootstrap import mean_interval, paired_change, present_mean, resampled_means


def test_resampling_is_deterministic_and_paired_across_calls() -> None:
    values = np.random.default_rng(0).random((30, 2))
    both = resampled_means(values, 50, seed=3)
    np.testing.assert_allclose(resampled_means(values[:, 1], 50, seed=3), both[:, 1], atol=1e-15)
    np.testing.assert_array_equal(resampled_means(values, 50, seed=3), both)
    assert not np.allclose(resampled_means(values, 50, seed=4), both)


def test_chunks_do_not_change_the_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(40)
    whole = resampled_means(values, 20, seed=1)
    monkeypatch.setattr("mora_jobs.estimators.bootstrap._CHUNK", 100)
    np.testing.assert_allclose(resampled_means(values, 20, seed=1), whole, atol=1e-15)


def test_interval_has_the_width_of_the_standard_error_and_covers() -> None:
    covered, width = 0, []
    for seed in range(200):
        sample = np.random.default_rng(seed).normal(0.3, 0.2, 100)
        interval = mean_interval(sample, 400, seed)
        covered += interval.low <= 0.3 <= interval.high
        width.append(interval.high - interval.low)
    assert np.mean(width) == pytest.approx(2 * 1.96 * 0.2 / 10, rel=0.05)
    assert 180 <= covered <= 199, "95 % intervals cover about 95 % of the time"


def test_missing_values_are_left_out_not_zero() -> None:
    values = np.array([[1.0, np.nan], [3.0, 5.0], [np.nan, np.nan]])
    np.testing.assert_allclose(present_mean(values), [2.0, 5.0])
    assert math.isnan(present_mean(np.array([np.nan, np.nan])))
    drawn = resampled_means(values, 200)
    known = drawn[~np.isnan(drawn[:, 1]), 1]
    assert (known == 5.0).all()
    assert np.isnan(drawn[:, 1]).any(), "a resample without a present prompt has no mean"


@pytest.mark.parametrize(
    ("values", "value", "prompts"),
    [([], math.nan, 0), ([math.nan], math.nan, 0), ([0.5], 0.5, 1), ([0.5, math.nan], 0.5, 1)],
)
def test_below_two_prompts_there_are_no_bounds(values: list[float], value: float, prompts: int) -> None:
    interval = mean_interval(values)
    assert interval.value == pytest.approx(value, nan_ok=True)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert interval.prompts == prompts
    assert interval.to_json()["low"] is None


def test_paired_change_uses_only_prompts_with_both() -> None:
    before, after, change = paired_change([0.1, 0.2, math.nan, 0.9], [0.3, 0.4, 1.0, math.nan])
    assert (before, after) == (pytest.approx(0.15), pytest.approx(0.35))
    assert (change.value, change.low, change.high) == (pytest.approx(0.2),) * 3
    assert change.prompts == 2
    with pytest.raises(ValueError, match="one shape"):
        paired_change([0.1], [0.1, 0.2])
