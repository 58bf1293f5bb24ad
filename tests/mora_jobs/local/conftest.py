"""Ways to run experiments of fake jobs."""

import io
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from local_experiments import Experiment
from rich.console import Console

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


@pytest.fixture
def fake_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started find the fake drivers."""
    monkeypatch.setenv("PYTHONPATH", f"{HERE / 'fake_drivers'}:{ROOT}")


@pytest.fixture
def fake_ray(fake_drivers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a Ray that starts at once, where nothing is asked of it."""
    monkeypatch.setenv("PYTHONPATH", f"{HERE / 'fake_ray'}:{os.environ['PYTHONPATH']}")


@pytest.fixture
def run(experiment: Experiment, fake_ray: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """`mora run` in this process on a machine with four processors: exit code and what was printed."""
    from mora_jobs.local import capacity
    from mora_jobs.local.run import Options
    from mora_jobs.local.run import run as run_options

    monkeypatch.setattr(capacity, "machine", lambda: capacity.Capacity(4))
    monkeypatch.setattr(capacity, "free_memory", lambda: 64 * 2**30)
    monkeypatch.setattr("mora_jobs.local.supervisor.free_memory", lambda: 64 * 2**30)
    monkeypatch.setattr("mora_jobs.local.run.write_report", lambda workdir, console: None)

    def start(*sets: str, terminal: bool = False, volumes: Sequence[str] = ()) -> tuple[int, str]:
        text = io.StringIO()
        console = Console(file=text, width=140, force_terminal=terminal)
        code = run_options(Options([experiment.folder], experiment.workdir, sets, volumes), console)
        return code, text.getvalue()

    return start


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that a test starts; killed at its end."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
