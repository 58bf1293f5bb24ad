"""Weights by Bradley–Terry on labelled pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad, minimize
from scipy.special import expit

from mora_jobs.errors import UserError
from mora_jobs.rewards.aggregation.learned import RIDGE, agreement, fit, learn

NAMES = ["good", "fair", "noise"]


def pairs(count: int = 400, seed: int = 0) -> np.ndarray:
    """Gaps of three rewards: one that knows the label well, one that knows it a little, one that is uniform noise."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(size=(count, 2)) - rng.uniform(size=(count, 2))
    return np.stack([0.4 + 0.5 * noise[:, 0], 0.1 + 0.5 * rng.normal(size=count), noise[:, 1]], axis=1)


def test_a_reward_of_uniform_noise_gets_no_weight():
    # Each pair stands there twice, with the noise turned round: in one sample noise agrees with the labels a little.
    gaps = np.concatenate([pairs(), pairs() * [1, 1, -1]])
    gradient = (gaps * expit(0)).mean(axis=0)  # at w = 0
    assert gradient[0] > 0.15
    assert abs(gradient[2]) < 1e-12
    weights = learn(NAMES, gaps, [f"p{i}" for i in range(len(gaps))]).weights
    assert weights["good"] > weights["fair"] > 0
    assert weights["noise"] < 1e-3
    assert fit(gaps - [0, 0, 0.01])[2] == 0.0, "what is worse than chance is bounded at 0"


def test_weights_are_the_minimum_under_the_bound():
    gaps = pairs(80, seed=3)

    def loss(w):
        return np.logaddexp(0, -gaps @ w).mean() + RIDGE / 2 * w @ w

    def gradient(w):
        return RIDGE * w - gaps.T @ expit(-gaps @ w) / len(gaps)

    found = fit(gaps)
    assert check_grad(loss, gradient, found) < 1e-6
    slope = gradient(found)
    assert slope[found > 0] == pytest.approx(np.zeros((found > 0).sum()), abs=1e-4)
    assert (slope[found == 0] >= -1e-4).all()
    other = minimize(loss, np.ones(3), method="trust-constr", bounds=[(0, None)] * 3)
    assert loss(found) <= other.fun + 1e-6


@settings(deadline=None, max_examples=20)
@given(st.permutations([0, 1, 2]), st.integers(0, 20))
def test_permuting_rewards_permutes_weights_and_a_constant_reward_changes_nothing(order, seed):
    gaps = pairs(60, seed)
    found = fit(gaps)
    assert fit(gaps[:, order]) == pytest.approx(found[list(order)], abs=2e-3)
    assert fit(np.c_[gaps, np.zeros(60)]) == pytest.approx([*found, 0.0], abs=2e-3)


def test_accuracy_is_of_prompts_that_were_not_seen():
    # Sixteen rewards of pure noise and few prompts: the weights fit the noise of the pairs that they have seen.
    seen, held_out = [], []
    for seed in range(16):
        gaps = np.repeat(np.random.default_rng(seed).normal(size=(20, 16)), 10, axis=0)
        prompts = np.repeat([f"p{i}" for i in range(20)], 10).tolist()
        found = learn([f"r{k}" for k in range(16)], gaps, prompts)
        seen.append(agreement(gaps @ np.array(list(found.weights.values()))).mean())
        held_out.append(found.figures["heldOut"]["value"])
        assert found.figures["heldOut"]["prompts"] == 20
    assert np.mean(seen) > 0.65
    assert np.mean(held_out) == pytest.approx(0.5, abs=0.1)


def test_figures_compare_with_uniform_weights_and_each_reward():
    gaps = pairs()
    gaps[:7, 1] = np.nan
    figures = learn(NAMES, gaps, [f"p{i}" for i in range(len(gaps))]).figures
    assert (figures["pairs"], figures["missing"]) == (393, 7)
    whole = gaps[7:]
    assert figures["rewards"]["good"]["value"] == pytest.approx((whole[:, 0] > 0).mean())
    assert figures["uniform"]["value"] == pytest.approx((whole.mean(axis=1) > 0).mean())
    assert figures["heldOut"]["low"] < figures["heldOut"]["value"] < figures["heldOut"]["high"]


def test_a_tie_is_half_right():
    assert agreement(np.array([0.2, 0.0, 0.1 + 0.2 - 0.3, -0.1])).tolist() == [1.0, 0.5, 0.5, 0.0]


def test_when_no_reward_agrees_with_the_labels_weights_are_uniform(caplog):
    found = learn(["a", "b"], -np.abs(pairs()[:, :2]), [f"p{i}" for i in range(400)])
    assert found.weights == {"a": 0.5, "b": 0.5}
    assert "no reward agrees with the labels" in caplog.text


FAULTS = {
    "few pairs": (pairs(19), range(19), "19 of 19 pairs have all scores"),
    "one prompt": (pairs(40), [0] * 40, "40 of 40 pairs have all scores.*of two prompts are needed"),
    "a reward without scores": (pairs(40) * [1, np.nan, 1], range(40), r"0 of 40 .*\(reward 'fair' lacks 40\)"),
}


@pytest.mark.parametrize(("gaps", "prompts", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_pairs_that_cannot_be_used_are_one_line(gaps, prompts, message):
    with pytest.raises(UserError, match=message):
        learn(NAMES, gaps, [str(p) for p in prompts])
