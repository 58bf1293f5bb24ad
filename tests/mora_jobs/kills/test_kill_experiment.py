"""kill -9 of the driver, of an actor and of the whole `mora run` at random points of each of three real jobs.

Afterwards every row is there once, those committed before a kill are there byte by byte, and all rows are those of an
unbroken run: the transformers engine's samples depend on neither batches nor restarts.
"""

import json
import random
import time
from pathlib import Path

import pytest
from victims import JOBS, Experiment

VICTIMS = ["driver", "actor", "run"]
ROUNDS = 7  # of nine kills each: 21 of each victim


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Experiment, dict[str, int]]:
    """An experiment that nobody disturbed, and how many files each job wrote."""
    experiment = Experiment(tmp_path_factory.mktemp("unbroken"), tiny_model, "workdir")
    experiment.start()
    for job in JOBS:
        experiment.until_files(job, 10**9)
    experiment.finish()
    return experiment, {job: experiment.files(job) for job in JOBS}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [None, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, ROUNDS))])
def test_kill_9_costs_no_row_and_changes_none(unbroken, tmp_path: Path, tiny_model: Path, seed: int | None) -> None:
    whole, files = unbroken
    chance = random.Random(seed if seed is not None else time.time_ns())
    experiment = Experiment(tmp_path, tiny_model, "workdir")
    experiment.start()
    kills = []
    for job in JOBS:
        # Points in the history of the job's files. Its last part is left out: it is over before one can aim.
        points = sorted(chance.randrange(int(0.8 * files[job])) for _ in VICTIMS)
        for point, victim in zip(points, chance.sample(VICTIMS, len(VICTIMS)), strict=True):
            experiment.until_files(job, point)
            time.sleep(chance.random() * 0.3)
            if experiment.kill(victim, job):
                kills.append((job, victim, point))
    experiment.finish()
    print(kills)
    assert len(kills) >= 7, "kills that found nobody alive any more"
    experiment.check_committed()
    assert experiment.tables() == whole.tables()
    for document in ("rollout/isolation.json", "rewrite/gains.json", "align/pareto.json"):
        assert json.loads((experiment.workdir / document).read_text()) == json.loads(
            (whole.workdir / document).read_text()
        )
