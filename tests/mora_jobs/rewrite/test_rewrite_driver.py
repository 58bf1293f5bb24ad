"""A RewriteJob on real parts, after a real RolloutJob."""

from pathlib import Path

import pytest
from small_experiment import SAMPLES, SmallExperiment

from mora_jobs import api
from mora_jobs.artifacts.document import read_json
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError
from mora_jobs.generation.prompts import read_prompts
from mora_jobs.generation.rollouts import rollout_table
from mora_jobs.generation.schemas import ANALYSIS, FINAL_PROMPTS, SINGLE_REWARD
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rewrite.driver import run as run_rewrite
from mora_jobs.rollout.driver import run as run_rollout

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, ray_local: None):
    """An experiment whose rollout job has run, its job, and the ids of its single-reward prompts."""
    small = SmallExperiment(tmp_path_factory.mktemp("small"), tiny_model)
    resolved = small.rollout()
    run_rollout(resolved, Reporter())
    rows = Table(Store(resolved.job.spec.output.uri), "analysis", ANALYSIS).rows()
    single = {row["id"] for row in rows if row["class"] == SINGLE_REWARD}
    assert single, "the thresholds of small_experiment must leave something to rewrite"
    return small, resolved, single


@pytest.fixture(scope="module")
def finished(source):
    small, resolved, _ = source
    job = small.rewrite(resolved)
    return job, run_rewrite(job, Reporter())


def final_prompts(job: api.ResolvedJob) -> dict[str, dict]:
    return {row["id"]: row for row in Table(Store(job.job.spec.output.uri), "prompts", FINAL_PROMPTS).rows()}


def test_every_single_reward_prompt_is_tried_and_accounted_for(source, finished) -> None:
    _, _, single = source
    _, result = finished
    counts = result.rewrites
    assert counts is not None
    assert counts.prompts.total == len(single)
    assert counts.candidates == 2 * len(single)
    # a target whose best rewrite is accepted has its other candidates rejected for some reason
    assert counts.accepted + sum(counts.rejected.values()) == counts.candidates


def test_only_accepted_prompts_change(source, finished) -> None:
    _, _, single = source
    job, result = finished
    prompts = final_prompts(job)
    rewritten = {key for key, row in prompts.items() if row["rewritten"]}
    assert len(prompts) == 12
    assert rewritten <= single
    assert len(rewritten) == result.rewrites.accepted
    assert all(row["prompt"] == row["original"] for key, row in prompts.items() if key not in rewritten)
    rollouts = {row["id"]: row for row in rollout_table(Store(job.job.spec.output.uri)).rows()}
    assert rollouts.keys() == rewritten
    assert all(len(row["samples"]) == SAMPLES for row in rollouts.values())
    assert all(rollouts[key]["prompt"] == prompts[key]["prompt"] for key in rewritten)


def test_gains_come_from_a_seed_that_chose_nothing(source, finished) -> None:
    _, rollout, _ = source
    job, result = finished
    store = Store(job.job.spec.output.uri)
    seeds = {
        folder: {row["seed"] for row in rollout_table(store.child(folder) if folder else store).rows()}
        for folder in ("screening", "replication", "originals", "")
        if (store.child(folder) if folder else store).exists("rollouts")
    }
    seeds["source"] = {row["seed"] for row in rollout_table(Store(rollout.job.spec.output.uri)).rows()}
    # Originals and rewrites are compared under one seed for each prompt; that draw chose nothing.
    assert seeds.pop("originals", set()) == seeds.get("", set())
    drawn = [seed for found in seeds.values() for seed in found]
    assert len(drawn) == len(set(drawn))
    document = read_json(store, "gains.json")
    assert document["unselected"]["prompts"] > 0
    if result.rewrites.accepted:
        assert result.gain.prompts == result.rewrites.accepted


def test_a_later_job_reads_the_final_prompts(source, finished) -> None:
    _, rollout, _ = source
    job, _ = finished
    spec = api.Prompts.model_validate({"rewriteJobRef": {"name": "small"}})
    later = api.ResolvedJob(job=job.job, references=[job.job, rollout.job])
    texts = {prompt.id: prompt.text for prompt in read_prompts(spec, later)}
    assert texts == {key: row["prompt"] for key, row in final_prompts(job).items()}


def test_running_again_changes_nothing(finished) -> None:
    job, result = finished
    folder = Path(job.job.spec.output.uri.removeprefix("file://"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert run_rewrite(job, Reporter()) == result
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.slow  # another rewriting, with the start of four engines
def test_what_was_cut_off_goes_on_and_ends_alike(source, finished) -> None:
    small, rollout, _ = source
    _, whole = finished

    class Cut(Exception):
        pass

    class Cutting(Reporter):
        def update(self, *args, stage: str = "", **kwargs) -> None:
            if stage == "Replication" or stage == "ReportScores":
                raise Cut
            super().update(*args, stage=stage, **kwargs)

    job = small.rewrite(rollout, output="cut")
    with pytest.raises(Cut):
        run_rewrite(job, Cutting())
    assert run_rewrite(job, Reporter()) == whole


@pytest.mark.slow  # another rewriting, with the start of four engines
def test_drop_only_leaves_the_single_reward_prompts_out(source) -> None:
    small, rollout, single = source
    job = small.rewrite(rollout, output="dropped", control="DropOnly")
    result = run_rewrite(job, Reporter())
    assert result.rewrites.accepted == 0
    assert final_prompts(job).keys().isdisjoint(single)
    assert len(final_prompts(job)) == 12 - len(single)


@pytest.mark.slow  # another rewriting, with the start of four engines
def test_random_rewrites_as_many_others(source) -> None:
    small, rollout, single = source
    job = small.rewrite(rollout, output="random", control="Random")
    result = run_rewrite(job, Reporter())
    assert result.rewrites.prompts.total == min(len(single), 12 - len(single))
    assert {key for key, row in final_prompts(job).items() if row["rewritten"]}.isdisjoint(single)


@pytest.mark.slow  # another rewriting, with the start of four engines
def test_nothing_to_rewrite(source, tmp_path: Path, tiny_model: Path) -> None:
    small = SmallExperiment(tmp_path, tiny_model, prompts=2)
    rollout = small.rollout(isolation={"reachThreshold": 1.0, "spreadThreshold": 1.0})
    run_rollout(rollout, Reporter())
    job = small.rewrite(rollout)
    result = run_rewrite(job, Reporter())
    assert result.rewrites.prompts.total == 0
    assert len(final_prompts(job)) == 2


def test_an_unfinished_source_is_refused(source, tmp_path: Path, tiny_model: Path) -> None:
    small = SmallExperiment(tmp_path, tiny_model)
    with pytest.raises(UserError, match="RolloutJob/small: has not finished"):
        run_rewrite(small.rewrite(small.rollout()), Reporter())
    assert not (tmp_path / "rewrite").exists()


def test_an_unknown_dimension_is_refused(source) -> None:
    small, rollout, _ = source
    job = small.rewrite(rollout, output="unknown", intents=[{"dimension": "kind", "definition": "x"}])
    with pytest.raises(UserError, match="'kind' is no reward of the rollout job"):
        run_rewrite(job, Reporter())
