import math

import numpy as np
import pytest

from mora_jobs.pareto.improvement import improvements


def scores(prompts: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    before = rng.uniform(0.2, 0.8, (prompts, 2))
    return before, before + rng.normal([0.05, 0.0], 0.02, (prompts, 2))


def test_points_and_percent_per_objective_and_overall() -> None:
    before, after = [[0.2, 0.5], [0.4, 0.5]], [[0.3, 0.5], [0.6, 0.4]]
    helpful, harmless, overall = improvements(before, after, ["helpful", "harmless"])
    assert (helpful.before, helpful.after) == pytest.approx((0.3, 0.45))
    assert helpful.points.value == pytest.approx(15.0)
    assert helpful.relative_percent.value == pytest.approx(50.0)
    assert harmless.points.value == pytest.approx(-5.0)
    assert harmless.relative_percent.value == pytest.approx(-10.0)
    assert (overall.name, overall.points.value) == ("overall", pytest.approx(5.0))
    assert overall.relative_percent.value == pytest.approx(12.5)


def test_intervals_are_paired_deterministic_and_tell_gain_from_none() -> None:
    before, after = scores()
    first = improvements(before, after, ["a", "b"], seed=5)
    assert first == improvements(before, after, ["a", "b"], seed=5)
    assert first != improvements(before, after, ["a", "b"], seed=6)
    gained, same, _ = first
    assert 4 < gained.points.low < gained.points.value < gained.points.high < 6
    assert same.points.low < 0 < same.points.high
    # prompts differ by far more than the gain does: only pairing makes the interval this narrow
    shuffled = np.random.default_rng(0).permutation(after)
    unpaired = improvements(before, shuffled, ["a", "b"])[0].points
    assert gained.points.high - gained.points.low < (unpaired.high - unpaired.low) / 4


def test_interval_equals_a_bootstrap_written_out() -> None:
    before, after = scores(40)
    points = improvements(before, after, ["a", "b"], resamples=300, seed=9)[0].points
    rng = np.random.default_rng(9)
    drawn = [rng.integers(0, 40, 40) for _ in range(300)]
    gains = [100 * (after[rows, 0].mean() - before[rows, 0].mean()) for rows in drawn]
    assert (points.low, points.high) == pytest.approx(tuple(np.quantile(gains, [0.025, 0.975])))


def test_a_prompt_counts_only_where_both_are_known() -> None:
    before = [[0.2, 0.5], [math.nan, 0.5], [0.9, 0.1]]
    after = [[0.4, 0.7], [0.9, 0.5], [math.nan, 0.1]]
    a, b, overall = improvements(before, after, ["a", "b"])
    assert (a.points.prompts, b.points.prompts, overall.points.prompts) == (1, 3, 1)
    assert (a.before, a.points.value) == (0.2, pytest.approx(20.0))
    assert math.isnan(a.points.low), "one prompt gives no interval"
    assert overall.points.value == pytest.approx(20.0)


def test_weights_and_unit() -> None:
    *_, overall = improvements([[0.0, 0.0]], [[1.0, 0.0]], ["a", "b"], weights=[3, 1])
    assert overall.points.value == 75.0
    raw = improvements([[-4.0]], [[-2.0]], ["cost"], unit=1)[0]
    assert raw.points.value == 2.0


@pytest.mark.parametrize("before", [-4.0, 0.0])
def test_percent_of_nothing_or_of_a_negative_mean_is_null(before: float) -> None:
    result = improvements([[before]] * 3, [[1.0]] * 3, ["a"])[0]
    assert math.isnan(result.relative_percent.value)
    assert result.to_json()["relativePercent"] == {"value": None, "low": None, "high": None, "prompts": 3}
    assert result.to_json()["points"]["value"] is not None


def test_percent_has_no_interval_where_resamples_reach_zero() -> None:
    result = improvements([[-1.0], [3.0]], [[1.0], [3.0]], ["a"])[0]
    assert result.relative_percent.value == pytest.approx(100.0)
    assert math.isnan(result.relative_percent.low)


def test_nothing_known_is_null() -> None:
    result = improvements([[math.nan]], [[0.5]], ["a"])[0]
    assert result.to_json()["before"] is None
    assert result.points.prompts == 0
    empty = improvements(np.zeros((0, 1)), np.zeros((0, 1)), ["a"])[0]
    assert math.isnan(empty.points.value)


@pytest.mark.parametrize(
    ("before", "after", "weights", "match"),
    [
        (np.zeros((2, 2)), np.zeros((3, 2)), None, "need two arrays"),
        (np.zeros((2, 1)), np.zeros((2, 1)), None, "need two arrays"),
        (np.zeros((2, 2)), np.zeros((2, 2)), [1, -1], "non-negative"),
        (np.zeros((2, 2)), np.zeros((2, 2)), [0, 0], "positive sum"),
    ],
)
def test_wrong_arguments_are_refused(before, after, weights, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        improvements(before, after, ["a", "b"], weights=weights)
