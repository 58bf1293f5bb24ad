import math

import numpy as np
import pytest

from mora_jobs.estimators.curves import Curves, average
from mora_jobs.estimators.reach import k_grid


def test_curves_of_prompts_average_with_intervals_around_the_mean() -> None:
    rng = np.random.default_rng(1)
    u = rng.random((200, 8, 3))
    curves = Curves.of(u, 0.5, k_grid(8))
    assert curves.reach.shape == (200, 4, 3)
    points = average(curves, ["a", "b", "c"], resamples=200)
    assert [point.k for point in points] == [1, 2, 4, 8]
    # uniform scores: E max of k is k / (k + 1), and 1 / 8 of the samples have all three at 0.5
    for point in points:
        for figure in point.reach.values():
            assert figure.low < figure.value < figure.high
            assert figure.value == pytest.approx(point.k / (point.k + 1), abs=0.03)
            assert figure.prompts == 200
        assert point.joint.value == pytest.approx(1 - (7 / 8) ** point.k, abs=0.05)
    assert points[0].balance.value == pytest.approx(1 / 4, abs=0.02)


def test_batches_join_to_the_same_curves() -> None:
    u = np.random.default_rng(2).random((10, 4, 2))
    whole = Curves.of(u, 0.5, [1, 4])
    joined = Curves.concatenate([Curves.of(u[:3], 0.5, [1, 4]), Curves.of(u[3:], 0.5, [1, 4])])
    for name in ("reach", "joint", "balance"):
        np.testing.assert_allclose(getattr(joined, name), getattr(whole, name), atol=1e-15)
    np.testing.assert_array_equal(whole.select(np.arange(10) > 7).joint, whole.joint[8:])


def test_curves_at_different_k_do_not_join() -> None:
    u = np.zeros((1, 4, 2))
    with pytest.raises(ValueError, match="different k"):
        Curves.concatenate([Curves.of(u, 0.5, [1]), Curves.of(u, 0.5, [2])])


def test_a_point_rests_on_the_prompts_that_have_k_samples_and_null_is_not_zero() -> None:
    u = np.full((3, 2, 1), 0.5)
    u[1, 1] = np.nan  # one sample left
    u[2] = np.nan  # none
    one, two = average(Curves.of(u, 0.4, [1, 2]), ["a"])
    assert (one.reach["a"].prompts, two.reach["a"].prompts) == (2, 1)
    assert (one.joint.value, two.joint.value) == (1.0, 1.0)
    assert two.to_json()["reach"]["a"] == {"value": 0.5, "low": None, "high": None, "prompts": 1}
    [empty] = average(Curves.of(u[2:], 0.4, [1]), ["a"])
    assert empty.to_json()["balance"] == {"value": None, "low": None, "high": None, "prompts": 0}


def test_one_prompt_one_sample_one_dimension() -> None:
    [point] = average(Curves.of([[[0.7]]], 0.6, k_grid(1)), ["only"])
    assert point.reach["only"].value == point.balance.value == 0.7
    assert point.joint.value == 1.0
    assert math.isnan(point.joint.low), "one prompt gives no interval"


def test_names_must_match_dimensions() -> None:
    with pytest.raises(ValueError, match="2 dimensions in the curves, 1 names"):
        average(Curves.of(np.zeros((1, 1, 2)), 0.5, [1]), ["a"])
