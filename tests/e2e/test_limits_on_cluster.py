"""Jobs that reach a limit: of time, of memory, of space. Whose fault it was is told, and what helps."""

import contextlib
import json
import subprocess
from collections.abc import Iterator

import pytest
from experiments import SECONDS, one_reward
from kubectl import Namespace
from statuses import condition, ended

pytestmark = pytest.mark.e2e

ENDLESS = """
import time

def length(prompts, responses, **columns):
    time.sleep(3600)
"""
GREEDY = """
def length(prompts, responses, **columns):
    held = []
    while True:
        held.append(bytearray(b"x" * 2**26))
"""


@pytest.mark.timeout(2 * SECONDS)
def test_a_job_over_its_deadline(namespace: Namespace, runtime_image: str) -> None:
    namespace.apply(one_reward(namespace, runtime_image, ENDLESS, activeDeadlineSeconds=60))
    status = namespace.await_job("rolloutjob", "rollout", SECONDS, until=ended)[-1]
    print(namespace.kubectl("get", "rlj", "-o", "wide"), namespace.kubectl("get", "events"))
    assert status["phase"] == "Failed"
    assert condition(status, "Failed")["reason"] == "DeadlineExceeded"
    namespace.await_that(lambda: not namespace.listed("pods"), 120)


@pytest.mark.timeout(3 * SECONDS)
def test_a_worker_that_is_out_of_memory(namespace: Namespace, runtime_image: str) -> None:
    """The kernel or Ray's own watch kills it: the reason says memory, and that is counted as the application's."""
    namespace.apply(one_reward(namespace, runtime_image, GREEDY, backoffLimit=0))
    status = namespace.await_job("rolloutjob", "rollout", 2 * SECONDS, until=ended)[-1]
    print(
        namespace.kubectl("get", "rlj", "-o", "wide"), namespace.kubectl("get", "events"), json.dumps(status, indent=1)
    )
    assert status["phase"] == "Failed"
    assert status["exit"]["class"] == "App"
    assert status["exit"]["reason"] == "OutOfMemory"


@pytest.fixture
def small_volume(namespace: Namespace) -> Iterator[Namespace]:
    """The claim is a file system of 24 MiB, which the model and a few results fill."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", namespace.volume], check=True)
    try:
        yield namespace
    finally:
        subprocess.run(["umount", "-l", namespace.volume], check=True)


@pytest.mark.timeout(2 * SECONDS)
def test_a_full_volume(small_volume: Namespace, runtime_image: str) -> None:
    job = one_reward(
        small_volume, runtime_image, "def length(prompts, responses, **columns): return [1.0] * len(prompts)"
    )
    with (small_volume.volume / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:  # full to the brim
            ballast.write(bytes(4096))
    small_volume.apply(job)
    status = small_volume.await_job("rolloutjob", "rollout", SECONDS, until=ended)[-1]
    print(small_volume.kubectl("get", "rlj", "-o", "wide"), json.dumps(status["exit"]))
    assert status["phase"] == "Failed"
    assert (status["exit"]["class"], status["exit"]["reason"]) == ("UserError", "DiskFull")
    assert "pvc://data" in status["exit"]["message"]
    assert status["attempts"]["current"] == 1, "another attempt would find it as full"
