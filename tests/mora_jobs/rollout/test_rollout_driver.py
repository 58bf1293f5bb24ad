"""A RolloutJob on real parts: transformers engine, Python rewards, Ray."""

import json
from pathlib import Path

import pytest
from small_experiment import SAMPLES, SmallExperiment

from mora_jobs import api
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError
from mora_jobs.generation.rollouts import rollout_table
from mora_jobs.generation.schemas import ANALYSIS
from mora_jobs.generation.scores import score_table
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rollout.driver import run

pytestmark = pytest.mark.usefixtures("ray_local")
REWARDS = ["length", "vowels", "quirky"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, ray_local: None):
    """An experiment whose rollout job has run, the job, and its result."""
    small = SmallExperiment(tmp_path_factory.mktemp("small"), tiny_model)
    resolved = small.rollout()
    return small, resolved, run(resolved, Reporter())


def samples_of(resolved: api.ResolvedJob) -> dict[str, list[str]]:
    table = rollout_table(Store(resolved.job.spec.output.uri))
    return {row["id"]: [sample["text"] for sample in row["samples"]] for row in table.rows()}


def test_every_prompt_has_its_samples_scores_and_class(finished) -> None:
    _, resolved, result = finished
    store = Store(resolved.job.spec.output.uri)
    samples = samples_of(resolved)
    assert {len(texts) for texts in samples.values()} == {SAMPLES}
    scores = list(score_table(store, REWARDS).rows())
    assert sorted(row["id"] for row in scores) == sorted(samples)
    assert all(len(row[name]) == SAMPLES for row in scores for name in REWARDS)
    assert result.rollouts is not None
    assert result.rollouts.prompts.completed == 12
    assert result.rollouts.samples == 12 * SAMPLES
    isolation = result.isolation
    assert isolation is not None
    counted = sum(isolation.single_reward.values()) + isolation.multi_reward + isolation.dead + isolation.mixed
    assert counted == 12
    assert [point.k for point in result.curves] == [1, 2, 4, 6]
    assert [reward.name for reward in result.rewards] == REWARDS
    assert ANALYSIS.names[0] == "id"


def test_a_column_of_the_prompts_reaches_the_reward(finished) -> None:
    _, resolved, _ = finished
    rows = score_table(Store(resolved.job.spec.output.uri), REWARDS).rows()
    zero = [row for row in rows if int(row["id"][1:]) % 3 == 0]
    assert {value for row in zero for value in row["quirky"] if value is not None} == {0.0}


def test_running_again_changes_nothing(finished) -> None:
    _, resolved, result = finished
    folder = Path(resolved.job.spec.output.uri.removeprefix("file://"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert run(resolved, Reporter()) == result
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_another_manifest_is_refused_with_what_differs(finished) -> None:
    small, _, _ = finished
    other = small.rollout(sampling={"samplesPerPrompt": SAMPLES, "maxTokens": 12, "seed": 4})
    with pytest.raises(UserError, match=r"spec\.sampling\.seed \(3 there, 4 here\)"):
        run(other, Reporter())


class Noted(Reporter):
    """Keeps the last (completed, total, unit)."""

    def update(self, completed: int, total: int, unit: str = "Prompts", *more: object, **named: object) -> None:
        self.last = (completed, total, unit)
        super().update(completed, total, unit, *more, **named)  # type: ignore[arg-type]


def test_one_prompt_one_sample_one_reward_and_a_prompt_longer_than_the_model(tmp_path: Path, tiny_model: Path) -> None:
    small = SmallExperiment(tmp_path, tiny_model, prompts=1)
    with (tmp_path / "prompts.jsonl").open("a") as file:
        file.write(json.dumps({"id": "long", "prompt": "ever and " * 2000}) + "\n")
    sampling = {"samplesPerPrompt": 1, "maxTokens": 4, "temperature": 0}
    reporter = Noted()
    result = run(small.rollout(names=("length",), sampling=sampling), reporter)
    assert result.rollouts is not None
    assert result.rollouts.samples == 1
    assert reporter.last == (1, 1, "Responses"), "what could not be sampled is not waited for"
    assert (result.rollouts.prompts.completed, result.rollouts.prompts.failed) == (1, 1)
    assert result.isolation is not None
    assert not any(result.isolation.single_reward.values())  # one sample shows no plateau


FAULTS = {
    "no such callable": ({"rewards": [{"name": "a", "python": {"callable": "small_rewards:absent"}}]}, "absent"),
    "no such module": ({"rewards": [{"name": "a", "python": {"callable": "nowhere:f"}}]}, "nowhere"),
    "no such model": ({"model": {"uri": "file:///nowhere/model"}}, "nowhere"),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_mistake_is_one_line(tmp_path: Path, tiny_model: Path, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(SmallExperiment(tmp_path, tiny_model, prompts=2).rollout(**change), Reporter())
    assert "callable" not in str(change) or not (tmp_path / "rollout").exists(), "found before anything was written"
