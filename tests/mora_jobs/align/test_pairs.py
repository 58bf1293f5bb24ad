"""From pools and preference files to pairs, and the account of where they came from."""

import json

import numpy as np
import pytest
from align_jobs import alignment, spread

from mora_jobs import api
from mora_jobs.align.dataset import PairSource
from mora_jobs.align.heldout import HeldOut, held_out
from mora_jobs.align.pairs import PAIRS, Selection, Yield, pairs_of, pool_row
from mora_jobs.align.pools import Pool, chosen_share, rollout_sources
from mora_jobs.align.preferences import given_pairs
from mora_jobs.api.training import Preferences
from mora_jobs.artifacts.identity import complete
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError
from mora_jobs.generation.rollouts import rollout_table
from mora_jobs.generation.schemas import FINAL_PROMPTS
from mora_jobs.generation.scores import score_table

NOTHING = HeldOut((), frozenset(), frozenset())


def pool(u, texts=None, weights=(0.5, 0.5)) -> Pool:
    u = np.asarray(u, dtype=float)
    texts = tuple(texts or (f"answer {index}" for index in range(len(u))))
    return Pool(
        "q", "Mixed", ({"role": "user", "content": "?"},), texts, (True,) * len(u), u, "q", "?", np.array(weights)
    )


def selection(columns=(0, 1), **pairs) -> Selection:
    names = tuple("abc"[index] for index in columns)
    stages = names if pairs.get("rule") == "StageGuard" else ()
    return Selection(api.Pairs.model_validate(pairs), names, columns, stages)


@pytest.mark.parametrize(
    ("u", "texts", "reason"),
    [
        ([[0.1, 0.1]], None, "TooFewScores"),
        ([[0.1, 0.1], [np.nan, 0.9]], None, "TooFewScores"),
        ([[0.1, 0.1], [0.9, 0.9]], ["same", "same"], "SameText"),
        ([[0.5, 0.5], [0.5, 0.5]], None, "ConstantScores"),
        ([[0.1, 0.1], [0.2, 0.2]], None, "SmallGap"),
        ([[0.1, 0.9], [0.9, 0.6]], None, "Conflict"),
    ],
)
def test_a_prompt_without_a_pair_says_why(u, texts, reason):
    account = Yield()
    assert list(pairs_of(pool(u, texts), selection(rule="Dominance"), account)) == []
    assert account.to_json()["withoutPairs"] == {reason: 1}
    assert account.to_json()["classes"] == {"Mixed": {"prompts": 1, "withPairs": 0, "pairs": 0}}


def test_a_missing_score_keeps_a_rollout_out_and_indices_stay_those_of_the_rollouts():
    rows = list(pairs_of(pool([[np.nan, 1.0], [0.2, 0.2], [0.9, 0.9]]), selection(), Yield()))
    assert [row["id"] for row in rows] == ["q#2-1"]
    assert (rows[0]["chosen"], rows[0]["rejected"]) == ("answer 2", "answer 1")


def test_a_missing_score_matters_only_where_the_rule_looks():
    u = [[0.1, 0.1, np.nan], [0.9, 0.9, 0.5]]
    aggregate, dominance = selection(rule="Aggregate"), selection(rule="Dominance")
    assert len(list(pairs_of(pool(u, weights=(0.5, 0.5, 0.0)), aggregate, Yield()))) == 1
    third = pool(u, weights=(0.4, 0.4, 0.2))
    assert list(pairs_of(third, aggregate, Yield())) == []
    assert len(list(pairs_of(third, dominance, Yield()))) == 1


def test_stages_have_pairs_of_their_own():
    account = Yield()
    rows = list(pairs_of(pool([[0.1, 0.5], [0.9, 0.5], [0.5, 0.95]]), selection(rule="StageGuard"), account))
    assert {(row["stage"], tuple(row["signs"])) for row in rows} == {("a", (1, 0)), ("b", (0, 1))}
    assert account.signed == {"a": 1, "b": 1}


def test_pools_hold_the_candidates_that_have_every_score():
    account, both = Yield(), selection(columns=(0, 1), rule="Pool")
    (row,) = pool_row(pool([[0.1, np.nan], [0.2, 0.3], [0.4, 0.5]]), both, account)
    assert row["responses"] == ["answer 1", "answer 2"]
    assert row["scores"] == [[0.2, 0.3], [0.4, 0.5]]
    assert account.pairs.total() == 2
    assert list(pool_row(pool([[0.1, 0.2], [0.1, 0.2]]), both, account)) == []
    assert list(pool_row(pool([[0.1, 0.2], [np.nan, 0.3]]), both, account)) == []
    assert account.without == {"ConstantScores": 1, "TooFewScores": 1}


def test_a_share_is_chosen_by_seed_and_name_alone():
    names = [f"q{index}" for index in range(20)]
    chosen = chosen_share(names, 0.3, 42)
    assert len(chosen) == 6
    assert chosen == chosen_share(names[::-1], 0.3, 42)
    assert chosen != chosen_share(names, 0.3, 43)
    assert chosen_share(names, 0.0, 42) == set()
    assert chosen_share(names, 1.0, 42) == set(names)


def resolve(job: api.AlignmentJob, *references) -> api.ResolvedJob:
    return api.ResolvedJob(job=job, references=list(references))


def test_pairs_of_a_rollout_job_are_committed_once_and_counted_by_class(make_rollouts, tmp_path):
    job = make_rollouts(spread(12, 6))
    store = Store(f"file://{tmp_path}/out")
    aligned = alignment(store.uri, "/model", pairs={"rule": "PerObjective", "minGap": 0.3})
    source = PairSource(aligned.spec, rollout_sources(resolve(aligned, job), aligned.spec.data), NOTHING)
    account = source.survey().to_json()
    table = source.commit(store)
    assert table.count() == account["pairs"] > 12
    assert set(account["classes"]) == {"SingleReward", "MultiReward"}
    assert set(account["signed"]) == {"helpful", "harmless", "truthful"}
    digest = table.digest()
    assert source.commit(store).digest() == digest

    half = Table(Store(f"file://{tmp_path}/half"), "pairs", PAIRS)
    half.append(list(table.rows())[:5])
    assert source.commit(Store(f"file://{tmp_path}/half")).digest() == digest


def test_prompts_that_are_measured_on_are_not_trained_on(make_rollouts, tmp_path):
    job = make_rollouts(spread(12, 6))
    aligned = alignment(f"file://{tmp_path}/out", "/model", pairs={"rule": "PerObjective"})
    resolved = resolve(aligned, job)
    sources = rollout_sources(resolved, aligned.spec.data)
    kept = held_out(resolved, aligned.spec, sources)
    assert len(kept.prompts) == 1
    rows = list(PairSource(aligned.spec, sources, kept).rows(account := Yield()))
    assert kept.prompts[0].id not in {row["prompt_id"] for row in rows}
    assert account.without["HeldOut"] == 1


@pytest.fixture
def make_rewrite(make_rollouts, tmp_path):
    """A RewriteJob over ten prompts: q0…q3 rewritten, q9 left out."""

    def make(share: float):
        job = make_rollouts(spread(10, 6))
        store = Store(f"file://{tmp_path}/rewrite")
        originals = {row["id"]: row for row in rollout_table(Store(job.spec.output.uri)).rows()}
        Table(store, "prompts", FINAL_PROMPTS).append(
            [
                {
                    "id": key, "prompt": f"rewritten {key}" if index < 4 else row["prompt"], "original": row["prompt"],
                    "rewritten": index < 4, "dimension": "helpful",
                }
                for index, (key, row) in enumerate(originals.items())
                if key != "q9"
            ]
        )  # fmt: skip
        rewritten = [originals[f"q{index}"] | {"prompt": f"rewritten q{index}"} for index in range(4)]
        rollout_table(store).append(rewritten)
        old = {
            row["id"]: row
            for row in score_table(Store(job.spec.output.uri), ["helpful", "harmless", "truthful"]).rows()
        }
        score_table(store, ["helpful", "harmless", "truthful"]).append([old[row["id"]] for row in rewritten])
        complete(store, {"prompts": "sha256:1"})
        rewrite = api.RewriteJob.model_validate(
            {
                "metadata": {"name": "rewrite"},
                "spec": {
                    "source": {"rolloutJobRef": {"name": "rollout"}},
                    "rewriter": {"templates": [{"name": "t", "template": "{{ prompt }}"}]},
                    "output": {"uri": store.uri},
                },
            }
        )
        pairs = {"rule": "PerObjective", "keepOriginalShare": share}
        data = {"rewriteJobRef": {"name": "rewrite"}, "rolloutJobRef": {"name": "rollout"}}
        aligned = alignment(f"file://{tmp_path}/out", "/model", pairs=pairs, data=data)
        return aligned, resolve(aligned, job, rewrite)

    return make


@pytest.mark.parametrize(("share", "kept"), [(0.0, 0), (0.5, 2), (1.0, 4)])
def test_a_rewrite_replaces_its_original_except_for_the_share_that_is_kept(make_rewrite, share, kept):
    aligned, resolved = make_rewrite(share)
    (source,) = rollout_sources(resolved, aligned.spec.data)
    pools = list(source.pools(share, 42))
    by_kind = {kind: [each for each in pools if each.kind == kind] for kind in {each.kind for each in pools}}
    assert len(by_kind["Rewritten"]) == 4
    assert len(by_kind.get("KeptOriginal", [])) == kept
    assert len(pools) == 4 + kept + 5, "DropOnly left one out"
    assert all(each.messages[-1]["content"].startswith("rewritten") for each in by_kind["Rewritten"])
    assert all(not each.messages[-1]["content"].startswith("rewritten") for each in by_kind.get("KeptOriginal", []))
    assert len({each.id for each in pools}) == len(pools)


def test_an_unfinished_job_is_named(make_rollouts, tmp_path):
    job = make_rollouts(spread(2, 4))
    Store(job.spec.output.uri).delete("_complete.json")
    aligned = alignment(f"file://{tmp_path}/out", "/model")
    with pytest.raises(UserError, match="RolloutJob/rollout has not finished here"):
        rollout_sources(resolve(aligned, job), aligned.spec.data)


@pytest.mark.parametrize(
    ("scores", "spec", "message"),
    [
        (spread(3, 4), {"objectives": [{"name": "kind"}]}, "has no such reward, it has helpful, harmless, truthful"),
        (
            spread(3, 4),
            {"pairs": {"minGap": 16}},
            r"no pair was found in 3 prompts \(3 SmallGap\); lower pairs.minGap",
        ),
        ([[[0.5, 0.1 * n, 0.2] for n in range(5)]] * 2, {}, "reward helpful is 0.5 for every rollout"),
    ],
)
def test_mistakes_about_pairs_are_one_line(make_rollouts, tmp_path, scores, spec, message):
    job = make_rollouts(scores)
    aligned = alignment(f"file://{tmp_path}/out", "/model", **spec)
    sources = rollout_sources(resolve(aligned, job), aligned.spec.data)
    with pytest.raises(UserError, match=message):
        PairSource(aligned.spec, sources, NOTHING).survey()
    assert not (tmp_path / "out").exists()


def preferences(tmp_path, rows, **columns) -> Preferences:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Preferences.model_validate({"uri": f"file://{file}", "columns": columns})


def test_given_pairs_take_texts_and_chats_with_signs_by_objective(tmp_path):
    chat = [{"role": "user", "content": "Why?"}]
    rows = [
        {"q": "Why?", "good": "Because.", "bad": "No.", "about": "helpful"},
        {"q": chat, "good": [*chat, {"role": "assistant", "content": "A"}], "bad": "B", "about": "harmless"},
        {"q": "Same?", "good": "x", "bad": "x", "about": "helpful"},
        {"q": "Measured?", "good": "x", "bad": "y", "about": "helpful"},
    ]
    given = preferences(tmp_path, rows, prompt="q", chosen="good", rejected="bad", objective="about")
    account = Yield()
    found = list(given_pairs(given, ["helpful", "harmless"], account, {"Measured?"}))
    assert [(row["id"], row["signs"], row["chosen"]) for row in found] == [
        ("Dataset/row-1", [1, 0], "Because."),
        ("Dataset/row-2", [0, 1], "A"),
    ]
    assert account.without == {"SameText": 1, "HeldOut": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "choosen": "b", "rejected": "c"}, "'chosen' is missing; did you mean 'choosen'"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "'rejected' is empty"),
        ({"prompt": 3, "chosen": "b", "rejected": "c"}, "neither a text nor a list of chat turns"),
    ],
)
def test_a_row_without_its_columns_is_named_with_its_line(tmp_path, row, message):
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    with pytest.raises(UserError, match=rf"pairs.jsonl:2.*{message}"):
        list(given_pairs(preferences(tmp_path, [good, row]), ["helpful"], Yield()))


def test_an_objective_that_the_job_lacks_is_named(tmp_path):
    given = preferences(tmp_path, [{"prompt": "a", "chosen": "b", "rejected": "c", "o": "kind"}], objective="o")
    with pytest.raises(UserError, match="objective 'kind' is not one of the job's objectives"):
        list(given_pairs(given, ["helpful"], Yield()))
