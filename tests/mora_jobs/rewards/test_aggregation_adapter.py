"""RuleAdapter (arXiv 2501.15453): the rewards that tell a prompt's answers apart, predicted from its text."""

import itertools
import logging
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mora_jobs.rewards.aggregation.adapter import Adapter, fit_adapter, separation, top

NAMES = ["a", "b", "c", "d"]


def world(prompts: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of length 1 of two kinds of prompts; rules a and b separate the answers of one kind, c and d the other."""
    rng = np.random.default_rng(seed)
    kind = np.arange(prompts) % 2
    x = rng.normal(size=(prompts, 16)) * 0.3
    x[:, 0] += np.where(kind == 1, 1, -1)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    means = np.where(kind[:, None] == 0, [0.3, 0.25, 0.1, 0.05], [0.1, 0.05, 0.3, 0.25])
    return x, means + 0.02 * rng.normal(size=means.shape)


@given(arrays(float, st.tuples(st.integers(0, 6), st.integers(1, 3)), elements=st.floats(0, 1) | st.just(math.nan)))
def test_separation_is_the_mean_difference_over_pairs_of_rollouts(u):
    for column, found in zip(u.T, separation(u), strict=True):
        gaps = [abs(a - b) for a, b in itertools.combinations(column[~np.isnan(column)], 2)]
        expected = np.mean(gaps) if gaps else math.nan
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_rules_are_predicted_for_prompts_that_were_not_seen(caplog):
    caplog.set_level(logging.INFO)
    adapter = fit_adapter(NAMES, *world(), rules=2)
    x, _ = world(40, seed=1)
    weights = adapter.weights(adapter.predict(x))
    expected = np.where((np.arange(40) % 2)[:, None] == 0, [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5])
    assert (weights == expected).mean() > 0.95
    assert weights.sum(axis=1) == pytest.approx(np.ones(40))
    assert adapter.figures["hits"]["value"] > 0.95
    assert adapter.figures["constantHits"]["value"] == pytest.approx(0.5, abs=0.15)
    assert adapter.figures["gain"]["low"] > 0.3
    assert all(value > 0.8 for value in adapter.figures["pearson"].values())
    assert "not better" not in caplog.text


def test_an_adapter_that_learns_nothing_says_so(caplog):
    x, t = world()
    rng = np.random.default_rng(0)
    adapter = fit_adapter(NAMES, rng.permutation(x), t, rules=2)
    assert adapter.figures["gain"]["low"] <= 0
    assert "not better than the same rules for every prompt" in caplog.text


def test_permuting_rewards_permutes_weights():
    x, t = world()
    order = [2, 0, 3, 1]
    plain, permuted = fit_adapter(NAMES, x, t, 2), fit_adapter([NAMES[k] for k in order], x, t[:, order], 2)
    assert (permuted.weights(permuted.predict(x)) == plain.weights(plain.predict(x))[:, order]).all()


def test_a_reward_that_never_separates_is_never_chosen():
    x, t = world()
    t[:, 1] = 0.0
    adapter = fit_adapter(NAMES, x, t, 2)
    assert not adapter.weights(adapter.predict(x))[:, 1].any()
    assert adapter.figures["pearson"]["b"] is None


def test_an_adapter_is_read_back_to_the_digit():
    x, t = world()
    adapter = fit_adapter(NAMES, x, t, 2)
    again = Adapter.from_json(adapter.to_json())
    assert (again.predict(x) == adapter.predict(x)).all()
    assert (again.rules, again.figures) == (adapter.rules, adapter.figures)


FALLBACKS = {
    "few prompts": (19, lambda t: np.add(t[:19], [0.2, 0, 0, 0.1]), 2, [0.5, 0, 0, 0.5], "the same rules are used"),
    "no separation": (50, lambda t: np.full((50, 4), np.nan), 2, [0.25] * 4, "the weights are uniform"),
    "one reward unknown": (50, lambda t: t[:50] * [1, 1, 1, np.nan] + [1, 1, 0, 0], 2, [0.5, 0.5, 0, 0], "0 prompts"),
    "constant rewards": (50, lambda t: t[:50] * 0, 2, [0.25] * 4, "no reward tells two answers to one prompt apart"),
    "no prompt": (0, lambda t: t[:0], 2, [0.25] * 4, "the weights are uniform"),
    "all rules": (50, lambda t: t[:50], 5, [0.25] * 4, "chooses 5 of 4 rewards"),
}


@pytest.mark.parametrize(("prompts", "change", "rules", "expected", "message"), FALLBACKS.values(), ids=FALLBACKS)
def test_where_nothing_can_be_learned_weights_do_not_differ_and_the_log_says_why(
    prompts, change, rules, expected, message, caplog
):
    x, t = world()
    adapter = fit_adapter(NAMES, x[:prompts], change(t), rules)
    assert (adapter.weights(adapter.predict(x[:5])) == expected).all()
    assert message in caplog.text


def test_one_reward_gets_all_of_the_weight():
    x, t = world()
    adapter = fit_adapter(["a"], x, t[:, :1], rules=5)
    assert (adapter.weights(adapter.predict(x)) == 1).all()


def test_of_equal_predictions_the_first_rules_are_chosen():
    assert top(np.array([[0.1, 0.3, 0.3, 0.3]]), 2).tolist() == [[False, True, True, False]]
