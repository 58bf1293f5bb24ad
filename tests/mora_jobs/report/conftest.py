"""Experiments that the tests of the report share."""

from pathlib import Path

import pytest
from invented import PROMPTS, Experiment


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """An empty workdir to fill."""
    return Experiment(tmp_path / "experiment")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished experiment of all kinds; its report is written. Do not write into it."""
    from mora_jobs.report import write

    made = Experiment(tmp_path_factory.mktemp("report") / "whole")
    made.rollout(PROMPTS, missing=0.02)
    made.rewrite()
    made.alignment(points=6, others=("judge",))
    made.alignment(name="sequence", sequential=True)
    return write(made.folder)
