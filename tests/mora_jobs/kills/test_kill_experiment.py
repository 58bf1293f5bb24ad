"""kill -9 of the driver, of an actor and of the whole `mora run` at random points of three real jobs.

Afterwards every row is there once, those committed before a kill are there byte by byte, and all rows are those of an
unbroken run: the transformers engine's samples depend on neither batches nor restarts.
"""

import asyncio
import random
import time
from pathlib import Path

import pytest
from small_experiment import SAMPLES
from victims import JOBS, VICTIMS, Experiment

from mora_jobs import api
from mora_jobs.engines.base import Request
from mora_jobs.engines.transformers import TransformersEngine

ROUNDS = 7  # of nine kills each: 21 of each victim
FILES = {"rollout": 45, "rewrite": 110, "align": 85}  # that an unbroken experiment writes, about


def disturb(experiment: Experiment, job: str, victims: list[str], files: int, chance: random.Random) -> list[str]:
    """Kill `victims` while `job` runs, at random points in the history of its `files`; those that were found alive."""
    # The last part of the history is left out: the job is over before one can aim.
    points = sorted(chance.randrange(int(0.8 * files)) for _ in victims)
    killed = []
    for point, victim in zip(points, victims, strict=True):
        experiment.until_files(job, point)
        time.sleep(chance.random() * 0.3)
        if experiment.kill(victim, job):
            killed.append(f"{victim} of {job} after {point} files")
    return killed


def redrawn(model: Path, rows: dict[str, dict]) -> dict[str, list[str]]:
    """The samples of a table of rollouts, drawn anew in this process."""

    async def draw() -> dict[str, list[str]]:
        engine = TransformersEngine([api.ModelRef(uri=f"file://{model}")], api.Engine())
        sampling = api.Sampling(samples_per_prompt=SAMPLES, max_tokens=12)
        requests = [
            Request(name, ({"role": "user", "content": row["prompt"]},), SAMPLES, row["seed"])
            for name, row in rows.items()
        ]
        found = await asyncio.gather(*(engine.generate(request, sampling) for request in requests))
        await engine.close()
        return {each.id: [sample.text for sample in each.samples] for each in found}

    return asyncio.run(draw())


@pytest.mark.timeout(900)
def test_nine_kills_cost_no_row_and_change_no_sample(tmp_path: Path, tiny_model: Path) -> None:
    chance = random.Random(time.time_ns())
    experiment = Experiment(tmp_path, tiny_model, "workdir")
    experiment.start()
    killed: list[str] = []
    for job in JOBS:
        killed += disturb(experiment, job, chance.sample(VICTIMS, len(VICTIMS)), FILES[job], chance)
    experiment.finish()
    assert len(killed) >= 7, killed
    experiment.check_committed()
    tables = experiment.tables()
    assert len(tables["rollout/rollouts"]) == len(tables["rollout/scores"]) == 8
    for name in ("rollout/rollouts", "rewrite/screening/rollouts", "rewrite/replication/rollouts", "rewrite/rollouts"):
        rows = tables[name]
        assert {key: [each["text"] for each in row["samples"]] for key, row in rows.items()} == redrawn(
            tiny_model, rows
        ), killed
        assert {len(row["samples"]) for row in rows.values()} == {SAMPLES}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Experiment, dict[str, int]]:
    """An experiment that nobody disturbed, and how many files each job wrote."""
    experiment = Experiment(tmp_path_factory.mktemp("unbroken"), tiny_model, "workdir")
    experiment.start()
    for job in JOBS:
        experiment.until_files(job, 10**9)
    experiment.finish()
    return experiment, {job: experiment.files(job) for job in JOBS}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_nine_kills_lead_to_the_same_experiment(unbroken, tmp_path: Path, tiny_model: Path, seed: int) -> None:
    whole, files = unbroken
    chance = random.Random(seed)
    experiment = Experiment(tmp_path, tiny_model, "workdir")
    experiment.start()
    killed: list[str] = []
    for job in JOBS:
        killed += disturb(experiment, job, chance.sample(VICTIMS, len(VICTIMS)), files[job], chance)
    experiment.finish()
    assert len(killed) >= 7, killed
    experiment.check_committed()
    assert experiment.tables() == whole.tables(), killed
    for document in ("rollout/isolation.json", "rewrite/gains.json", "align/pareto.json"):
        assert experiment.document(document) == whole.document(document), killed
