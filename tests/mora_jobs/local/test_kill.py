"""`mora run` as a process that is killed or interrupted: nothing is left behind, and running again goes on."""

import os
import pty
import re
import signal
import subprocess
import uuid
from pathlib import Path

import pytest
from processes import belonging, until

from mora_jobs.local.workdir import Workdir


@pytest.fixture
def start(experiment, processes, monkeypatch):
    """Start `mora run` with a mark in its environment, which all its descendants inherit; the process and the mark."""

    def start(terminal: int | None = None) -> tuple[subprocess.Popen, str]:
        mark = f"MORA_TEST={uuid.uuid4().hex}"
        process = subprocess.Popen(
            experiment.command(),
            env=os.environ | dict([mark.split("=")]) | {"TERM": "xterm", "COLUMNS": "120"},
            stdin=terminal if terminal is not None else subprocess.DEVNULL,
            stdout=terminal if terminal is not None else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=terminal is None,
            start_new_session=True,
        )
        processes.append(process)
        return process, mark

    return start


def scratch_of(mark: str) -> Path:
    """The scratch folder of a run, by the command line of its watchdog."""
    for process in belonging(mark):
        arguments = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        if any(argument.endswith(b"watchdog.py") for argument in arguments):
            return Path(arguments[-2].decode())
    raise AssertionError("there is no watchdog")


@pytest.mark.slow
@pytest.mark.timeout(900)  # two starts of Ray, which a busy machine takes minutes for
def test_kill_9_of_the_run_leaves_no_process_and_running_again_goes_on(experiment, start, fake_drivers):
    # Ray is real here: an actor and its child, a child of the driver, and all of Ray's own processes have to go.
    experiment.rollout("one", steps="8", seconds="0.5", ray="yes")
    process, mark = start()
    until(lambda: len(experiment.steps("one")) >= 2, "two steps")
    scratch = scratch_of(mark)
    assert len(belonging(mark)) > 8
    assert scratch.is_dir()
    process.kill()
    process.wait()
    until(lambda: not belonging(mark), "all processes to end")
    assert not scratch.exists()
    assert not Workdir(experiment.workdir).is_busy()
    assert experiment.phase("RolloutJob/one") == "Running", "nobody was left to say otherwise"
    before = {path: path.read_bytes() for path in experiment.steps("one")}

    process, mark = start()
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    assert len(experiment.steps("one")) == 8
    assert {path: path.read_bytes() for path in before} == before
    status = experiment.status("RolloutJob/one")["status"]
    assert status["attempts"] == {"current": 2, "failed": 0, "infraRestarts": 1}
    assert status["attemptHistory"][0]["reason"] == "RunKilled"
    until(lambda: not belonging(mark), "all processes to end")


def test_an_interrupt_lets_the_driver_reach_a_safe_point(experiment, start, fake_ray):
    experiment.rollout("one", steps="100", seconds="0.1")
    experiment.rewrite("two", of="one")
    process, mark = start()
    until(lambda: experiment.steps("one"), "a step")
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate()
    assert process.returncode == 130
    assert "stopping at the next safe point" in printed
    assert printed.rstrip().endswith("interrupted; run the same command again to resume")
    assert "Traceback" not in printed
    assert experiment.conditions("RolloutJob/one")["Suspended"] == ("True", "Interrupted")
    assert experiment.conditions("RolloutJob/one")["Ready"] == ("True", "Interrupted")
    assert (experiment.workdir / "out" / "one" / "exit.json").read_text().find('"Stopped"') > 0
    assert 0 < len(experiment.steps("one")) < 100
    until(lambda: not belonging(mark), "all processes to end")


def test_a_second_interrupt_does_not_wait(experiment, start, fake_ray):
    experiment.rollout("one", end="Hang", steps="1")
    process, mark = start()
    until(lambda: experiment.steps("one"), "a step")
    process.send_signal(signal.SIGTERM)
    until(lambda: "Running" in experiment.phase("RolloutJob/one"), "nothing: it hangs")
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    until(lambda: not belonging(mark), "all processes to end")


def test_on_a_terminal_there_is_one_live_table(experiment, start, fake_ray):
    experiment.rollout("one", steps="20", seconds="0.1")
    experiment.rewrite("two", of="one", end="UserError")
    master, slave = pty.openpty()
    process, _ = start(terminal=slave)
    os.close(slave)
    screen = b""
    while True:
        try:
            screen += os.read(master, 65536)
        except OSError:  # the last process has closed the terminal
            break
    os.close(master)
    assert process.wait() == 2
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.decode())
    assert "━" in text
    assert re.search(r"RolloutJob/one +Running +Rollouts .*[0-9]+/20 prompts", text)
    assert re.search(r"RewriteJob/two +Waiting .*waits for RolloutJob/one", text)
    assert "RewriteJob/two failed (InvalidInput): reward 'helpful': returned NaN for prompt p7" in text
    assert text.count("starting Ray") == 1
