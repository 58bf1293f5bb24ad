"""The arithmetic of advantages: numbers by hand, TRL's own code, and what must not matter."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mora_jobs.align.online.advantages import (
    centred,
    normalise_then_sum,
    normalised_over_tokens,
    returns,
    sum_then_normalise,
    totals,
    whiten,
)

NAN = math.nan
ONE = np.ones(2)


def gdpo(scores, weights, group):
    return whiten(normalise_then_sum(scores, weights, group))


ORDERS = {"GRPO": sum_then_normalise, "GDPO": gdpo}
SCORES = arrays(np.float64, (12, 3), elements=st.floats(0, 1))


@pytest.mark.parametrize(
    ("second", "before", "after"),
    [([0.0, 0.0], 0.7071, 0.7071), ([0.0, 1.0], 0.7071, 1.4142)],
    ids=["totals 0 and 1", "totals 0 and 2"],
)
def test_gdpo_tells_apart_what_grpo_does_not(second, before, after):
    scores = np.array([[0.0, second[0]], [1.0, second[1]]])
    assert sum_then_normalise(scores, ONE, 2) == pytest.approx([-before, before], abs=3e-4)
    assert normalise_then_sum(scores, ONE, 2) == pytest.approx([-after, after], abs=3e-4)


def test_a_wide_reward_drowns_a_narrow_one_in_a_sum_only():
    """Independent scores with deviations 10 : 1, in large groups: corr(Â, s_2) = 1/√101 in the sum, 1/√2 when normalised."""
    scores = np.random.default_rng(0).normal(size=(40_000, 2)) * [10.0, 1.0]
    found = {name: np.corrcoef(order(scores, ONE, 1000), scores[:, 1])[0, 1] for name, order in ORDERS.items()}
    assert found == {"GRPO": pytest.approx(101**-0.5, abs=0.02), "GDPO": pytest.approx(2**-0.5, abs=0.02)}


@pytest.mark.parametrize("order", ORDERS)
@given(scores=SCORES)
def test_the_order_of_objectives_does_not_matter(order, scores):
    weights = np.array([0.5, 0.3, 0.2])
    turned = [2, 0, 1]
    there = ORDERS[order](scores, weights, 4)
    assert ORDERS[order](scores[:, turned], weights[turned], 4) == pytest.approx(there, abs=1e-6)


@pytest.mark.parametrize("order", ORDERS)
@given(scores=SCORES)
def test_identical_objectives_are_one(order, scores):
    one = scores[:, :1]
    many = np.repeat(one, 3, axis=1)
    alone = ORDERS[order](one, np.ones(1), 4)
    assert ORDERS[order](many, np.array([0.5, 0.3, 0.2]), 4) == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_constant_scores_say_nothing(order):
    assert np.abs(ORDERS[order](np.full((8, 2), 0.3), np.array([0.5, 0.5]), 4)).max() < 1e-9


def test_one_constant_group_says_nothing_in_a_sum():
    scores = np.array([[0.2], [0.2], [0.1], [0.9]])
    found = sum_then_normalise(scores, np.ones(1), 2)
    assert found[:2] == pytest.approx([0, 0], abs=1e-9)
    assert abs(found[2]) > 0.7


@pytest.mark.parametrize("order", ORDERS)
def test_a_response_without_any_score_is_as_if_it_were_not_there(order):
    known = np.array([[0.1, 0.4], [0.9, 0.2], [0.5, 0.3]])
    more = np.array([[0.1, 0.4], [0.9, 0.2], [NAN, NAN], [0.5, 0.3]])
    weights = np.array([0.4, 0.6])
    found = ORDERS[order](more, weights, 4)
    assert found[2] == 0
    assert np.delete(found, 2) == pytest.approx(ORDERS[order](known, weights, 3))


def test_one_missing_score_leaves_a_response_out_of_a_sum_and_out_of_its_own_column_otherwise():
    scores = np.array([[0.1, 0.4], [0.9, NAN], [0.5, 0.3], [0.2, 0.9]])
    weights = np.array([0.5, 0.5])
    assert sum_then_normalise(scores, weights, 4)[1] == 0
    assert normalise_then_sum(scores, weights, 4)[1] == pytest.approx(
        0.5 * normalise_then_sum(scores[:, :1], np.ones(1), 4)[1]
    )


def test_a_group_with_one_scored_response_says_nothing():
    scores = np.array([[0.4], [NAN], [0.1], [0.9]])
    assert sum_then_normalise(scores, np.ones(1), 2)[:2].tolist() == [0, 0]


def test_returns_add_up_the_penalty_of_what_is_still_to_come():
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    divergence = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 99.0]])
    found = returns(torch.tensor([10.0, 20.0]), divergence, mask, 0.1)
    assert found.tolist() == [pytest.approx([9.4, 9.5, 9.7]), pytest.approx([19.1, 19.5, 0])]


def test_tokens_are_normalised_over_the_whole_step():
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 99.0]], dtype=torch.float64)
    found = normalised_over_tokens(values, mask, lambda part: part)
    assert found.tolist() == [pytest.approx((np.array([1, 2, 3]) - 3) / 2**0.5), pytest.approx([2**-0.5, 2**0.5, 0])]
    # Two workers with a response each see the same.
    sums = [torch.stack([m.sum().double(), (v * m).sum()]) for v, m in zip(values, mask, strict=True)]
    apart = sum(((v - 3) ** 2 * m).sum() for v, m in zip(values, mask, strict=True))
    totals_of = iter([sums[0] + sums[1], apart[None]])
    alone = normalised_over_tokens(values[:1], mask[:1], lambda _: next(totals_of))
    assert torch.allclose(alone, found[:1])


def test_tokens_of_constant_returns_say_nothing():
    values = torch.full((2, 3), 0.7, dtype=torch.float64)
    found = normalised_over_tokens(values, torch.ones(2, 3), lambda part: part)
    assert found.abs().max() < 1e-6


def test_a_baseline_is_the_mean_of_what_is_known_of_a_group():
    found = centred(totals(np.array([[0.2], [0.6], [NAN], [0.5]]), np.ones(1)), 2)
    assert found[[0, 1, 3]] == pytest.approx([-0.2, 0.2, 0])
    assert np.isnan(found[2])
