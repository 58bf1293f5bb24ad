"""Who wrote the two sides of pairs: counted, and warned of where it may spoil the training."""

import json

import pytest
from align_jobs import alignment, spread

from mora_jobs import api
from mora_jobs.align.dataset import PairSource
from mora_jobs.align.heldout import HeldOut
from mora_jobs.align.pools import rollout_sources
from mora_jobs.align.sides import warnings
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError

NOTHING = HeldOut((), frozenset(), frozenset())
WRITERS = {"chosenModel": "good_by", "rejectedModel": "bad_by"}


@pytest.fixture
def look(tmp_path):
    """pairs.json and the warnings of a job on given pairs, or on rollouts."""

    def make(rows=(), columns=WRITERS, rollout: api.RolloutJob | None = None, **more):
        file = tmp_path / "pairs.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = {
            "data": {"preferences": {"uri": f"file://{file}", "columns": columns}},
            "pairs": {"rule": "Dataset"},
            "evaluation": {"prompts": {"uri": f"file://{file}"}},
        }
        job = alignment(
            f"file://{tmp_path}/out", "/model", **({"pairs": {"rule": "PerObjective"}} if rollout else given) | more
        )
        resolved = api.ResolvedJob(job=job, references=[rollout] if rollout else [])
        sources = rollout_sources(resolved, job.spec.data)
        source = PairSource(job.spec, sources, NOTHING)
        account = source.account(source.commit(Store(job.spec.output.uri)), None)
        json.dumps(account)
        return account, list(warnings(job.spec, sources, account))

    return make


def row(index: int, good_by: str | None, bad_by: str | None, ending: str = "") -> dict[str, str | None]:
    text = " ".join("abcdefghij"[int(digit)] * 3 for digit in str(7919 * (index + 1)))
    other = " ".join("abcdefghij"[int(digit)] * 3 for digit in str(6271 * (index + 1)))
    return {
        "prompt": f"q{index}?", "chosen": f"{text}{ending}", "rejected": other, "good_by": good_by, "bad_by": bad_by
    }  # fmt: skip


def test_given_pairs_are_counted_by_who_wrote_their_sides(look):
    rows = [
        row(0, "big", "small"),
        row(1, "small", "small"),
        row(2, "small", "small"),
        row(3, None, "small"),
        row(4, "", ""),
    ]
    account, warned = look(rows)
    assert account["sides"] == {"OneModel": 2, "TwoModels": 1, "Unknown": 2}
    (line,) = warned
    assert "chosen and rejected come from different models in 33% of the given pairs that name both" in line


@pytest.mark.parametrize("columns", [WRITERS, {}], ids=["by one model", "nobody says by whom"])
def test_given_pairs_of_one_model_or_of_unknown_ones_are_not_warned_of(look, columns):
    account, warned = look([row(index, "small", "small") for index in range(4)], columns)
    assert account["sides"] == ({"OneModel": 4} if columns else {"Unknown": 4})
    assert warned == []


def test_a_column_of_models_that_is_not_there_is_named(look):
    columns = {"chosenModel": "good_by", "rejectedModel": "worse_by"}
    with pytest.raises(UserError, match=r"pairs.jsonl:1: column 'worse_by' is missing; .*columns.rejectedModel"):
        look([row(0, "big", "small")], columns)


def test_a_phrase_that_gives_the_preferred_side_away_is_warned_of_for_every_objective(look):
    account, warned = look([row(index, None, None, " That is all.") for index in range(40)])
    assert {name: found["pairs"] for name, found in account["separability"].items()} == dict.fromkeys(
        ("helpful", "harmless", "truthful"), 40
    )
    assert all(found["auc"] > 0.97 for found in account["separability"].values())
    assert [line.split(" on words and length alone ")[0] for line in warned] == ["a linear probe"] * 3
    assert "AUC 1.00 over 40 pairs" in warned[0]


def test_sides_without_a_pattern_are_not_warned_of(look):
    account, warned = look([row(index, None, None) for index in range(60)])
    assert 0.3 < account["separability"]["helpful"]["auc"] < 0.7
    assert warned == []


def test_of_few_pairs_nothing_is_said(look):
    account, warned = look([row(index, None, None, " That is all.") for index in range(10)])
    assert account["separability"] == {}
    assert warned == []


@pytest.mark.parametrize("rule", ["PerObjective", "Pool"])
def test_rollouts_of_the_aligned_model_are_its_own_on_both_sides(look, make_rollouts, tmp_path, rule):
    rollout = make_rollouts(spread(12, 6), model={"uri": "file:///model"})
    method = {"name": "MOPO"} if rule == "Pool" else {"name": "DPO"}
    account, warned = look(rollout=rollout, pairs={"rule": rule}, method=method)
    assert account["sides"] == {"SelfGenerated": account["pairs"]}
    assert warned == []
    assert set(account["separability"]) == (set() if rule == "Pool" else {"helpful", "harmless", "truthful"})


def test_rollouts_of_another_model_are_off_policy(look, make_rollouts):
    rollout = make_rollouts(spread(12, 6), model={"uri": "file:///other"})
    account, warned = look(rollout=rollout)
    assert account["sides"] == {"OneModel": account["pairs"]}
    assert warned == [
        "both sides of the pairs of RolloutJob/rollout were sampled from file:///other, but file:///model is aligned: they "
        "are off-policy"
    ]
