"""A RolloutJob on real parts: transformers engine, Python rewards, Ray."""

import json
import os
import random
import signal
import subprocess
import sys
import time
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

# The driver as it is, but for parts of one row each, so that there is something to lose at every moment.
EVERY_ROW = """
import sys
from mora_jobs.generation import appender
from mora_jobs.__main__ import main
appender.PART_SECONDS = 0.0
sys.exit(main())
"""
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


@pytest.mark.parametrize("rewards", [("length",), ("vowels", "length")], ids=["one reward", "two rewards"])
def test_one_prompt_one_sample(tmp_path: Path, tiny_model: Path, rewards: tuple[str, ...]) -> None:
    small = SmallExperiment(tmp_path, tiny_model, prompts=1)
    sampling = {"samplesPerPrompt": 1, "maxTokens": 4, "temperature": 0}
    result = run(small.rollout(names=rewards, sampling=sampling), Reporter())
    assert result.rollouts is not None
    assert result.rollouts.samples == 1
    assert result.isolation is not None
    assert not any(result.isolation.single_reward.values())  # one sample shows no plateau


def test_a_prompt_longer_than_the_model_fails_alone(tmp_path: Path, tiny_model: Path) -> None:
    small = SmallExperiment(tmp_path, tiny_model, prompts=2)
    with (tmp_path / "prompts.jsonl").open("a") as file:
        file.write(json.dumps({"id": "long", "prompt": "ever and " * 2000, "weight": 1}) + "\n")
    result = run(small.rollout(), Reporter())
    assert result.rollouts is not None
    assert (result.rollouts.prompts.completed, result.rollouts.prompts.failed) == (2, 1)


FAULTS = {
    "no such callable": ({"rewards": [{"name": "a", "python": {"callable": "small_rewards:absent"}}]}, "absent"),
    "no such module": ({"rewards": [{"name": "a", "python": {"callable": "nowhere:f"}}]}, "nowhere"),
    "no such model": ({"model": {"uri": "file:///nowhere/model"}}, "nowhere"),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_mistake_is_one_line(tmp_path: Path, tiny_model: Path, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(SmallExperiment(tmp_path, tiny_model, prompts=2).rollout(**change), Reporter())


@pytest.mark.slow  # four drivers, each with a Ray of its own
@pytest.mark.timeout(600)
def test_kill_9_of_the_driver_costs_no_row_and_changes_none(finished, tmp_path: Path, tiny_model: Path) -> None:
    """Three kills at random points; then every prompt once, with the samples of an unbroken run."""
    _, unbroken, _ = finished
    small = SmallExperiment(tmp_path, tiny_model)
    resolved = small.rollout()
    job = tmp_path / "job.json"
    job.write_text(resolved.dump())
    table = tmp_path / "rollout/rollouts"
    rng, committed = random.Random(int(time.time())), {}
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", EVERY_ROW, "--job", str(job)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # The first row is the event that says that the driver is at work; from there on any moment will do.
        rows = len(list((table / "manifest").glob("*.json"))) if table.exists() else 0
        while (
            process.poll() is None
            and (len(list((table / "manifest").glob("*.json"))) if table.exists() else 0) <= rows
        ):
            time.sleep(0.02)
        time.sleep(rng.random() * 0.3)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        parts = {path.name: path.read_bytes() for path in (table / "parts").glob("*.parquet")}
        assert committed.items() <= parts.items()  # rows committed before are byte-equal
        manifest = [json.loads(path.read_text()) for path in (table / "manifest").glob("*.json")]
        committed = {
            name: data
            for name, data in parts.items()
            if any(name.removesuffix(".parquet") in json.dumps(m) for m in manifest)
        }
        assert committed
    result = run(resolved, Reporter())
    assert result.rollouts is not None
    assert result.rollouts.prompts.completed == 12
    assert samples_of(resolved) == samples_of(unbroken)
