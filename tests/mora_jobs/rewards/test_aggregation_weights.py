"""The weights of a finished job, read back, and the score that they make."""

import math

import numpy as np
import pytest

from mora_jobs.artifacts.document import write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError
from mora_jobs.rewards.aggregation import Weighting, overall, weights_for
from mora_jobs.rewards.aggregation.weights import prompt_weights_table


def test_overall_is_missing_where_a_weighted_reward_is_missing():
    u = np.array([[[0.2, 0.6], [math.nan, 0.6]], [[0.4, math.nan], [1.0, 1.0]]])
    both = overall(u, {"a": 0.25, "b": 0.75})
    assert both.shape == (2, 2)
    assert both[0, 0] == pytest.approx(0.5)
    assert np.isnan([both[0, 1], both[1, 0]]).all()
    assert overall(u, [1.0, 0.0])[1, 0] == pytest.approx(0.4)


def test_global_weights_are_those_of_every_prompt_in_the_order_asked_for(tmp_path):
    store = Store(f"file://{tmp_path}")
    Weighting({"b": 0.75, "a": 0.25}).write(store, "ENCORE")
    assert weights_for(store, ["a", "b"])("any").tolist() == [0.25, 0.75]
    assert weights_for(store, ["b", "a"])("other").tolist() == [0.75, 0.25]


def test_weights_of_single_prompts_and_of_their_rewrites(tmp_path):
    store, rewrites = Store(f"file://{tmp_path}/rollout"), Store(f"file://{tmp_path}/rewrite")
    Weighting({"b": 0.5, "a": 0.5}, per_prompt=True).write(store, "RuleAdapter")
    rows = [{"id": "p", "weights": [1.0, 0.0], "predicted": [0.3, 0.1]}]
    rows += [{"id": "q", "weights": [0.0, 1.0], "predicted": [0.1, 0.2]}]
    prompt_weights_table(store).append(rows)
    prompt_weights_table(rewrites).append([{"id": "p", "weights": [0.0, 1.0], "predicted": [0.0, 0.1]}])
    original, rewritten = weights_for(store, ["a", "b"]), weights_for(store, ["a", "b"], rewrites)
    assert (original("p").tolist(), original("q").tolist()) == ([0.0, 1.0], [1.0, 0.0])
    assert (rewritten("p").tolist(), rewritten("q").tolist()) == ([1.0, 0.0], [1.0, 0.0])
    with pytest.raises(UserError, match="has no prompt 'r'"):
        original("r")


def test_weights_that_are_not_there_or_of_other_rewards_are_one_line(tmp_path):
    store = Store(f"file://{tmp_path}")
    with pytest.raises(UserError, match="is not there; let the rollout job finish first"):
        weights_for(store, ["a"])
    write_json(store, "weights.json", {"weights": {"a": 1.0}})
    with pytest.raises(UserError, match="has weights of a, not of a, b"):
        weights_for(store, ["a", "b"])
