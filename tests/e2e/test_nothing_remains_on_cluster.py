"""Fifty experiments created and deleted at every stage of their lives: no object, no file and no memory remains."""

import json
from pathlib import Path

import pytest
from experiments import code, manifests, prepare
from kubectl import Namespace
from test_experiment_on_cluster import MADE, OURS, names
from tiny_jobs import SECONDS

pytestmark = pytest.mark.e2e

EXPERIMENTS = 50
BATCH = 10


@pytest.mark.timeout(8 * SECONDS)
def test_fifty_experiments(namespace: Namespace, runtime_image: str) -> None:
    prepare(namespace.volume)
    code(namespace)
    before = names(namespace, MADE)
    files = files_of(namespace.volume)
    create_and_delete(namespace, runtime_image, range(BATCH))  # what is only loaded once is no leak
    at_first = memory()
    for begin in range(BATCH, EXPERIMENTS + BATCH, BATCH):
        create_and_delete(namespace, runtime_image, range(begin, begin + BATCH))
        assert names(namespace, MADE) == before
    at_last = memory()
    print({pod: f"{at_first[pod] / 2**20:.1f} → {at_last[pod] / 2**20:.1f} MiB" for pod in at_first})
    assert at_first.keys() == at_last.keys(), "no operator was restarted"
    for pod, used in at_first.items():
        assert at_last[pod] < 1.1 * used
    assert names(namespace, OURS) == set()
    assert {path for path in files_of(namespace.volume) - files if "runs" not in path.parts} == set()


def create_and_delete(namespace: Namespace, image: str, numbers: range) -> None:
    """Apply experiments; delete them when some run, some have pods that do not fit, and the chains wait."""
    before = names(namespace, MADE)
    for number in numbers:
        namespace.apply(*manifests(image, prefix=f"n{number}-", folder=f"runs/{number}"))
    first = f"n{numbers[0]}-rollout"
    namespace.await_that(
        lambda: len(json.loads(namespace.kubectl("get", "rayjobs", "-o", "json"))["items"]) == len(numbers), 60
    )
    namespace.await_that(
        lambda: any(
            job.get("status", {}).get("phase") == "Running"
            for job in json.loads(namespace.kubectl("get", "rlj", "-o", "json"))["items"]
        ),
        SECONDS,
        lambda: first,
    )
    namespace.kubectl("delete", OURS, "--all", "--wait=false")
    namespace.await_that(lambda: names(namespace, MADE) == before, 180, lambda: names(namespace, MADE) - before)


def memory() -> dict[str, int]:
    """Resident bytes of the operator's processes by the name of their pods, as they say themselves."""
    namespace = Namespace("mora-system", Path())
    pods = namespace.kubectl("get", "pods", "-l", "app.kubernetes.io/name=mora-operator", "-o", "name").split()
    found = {}
    for pod in pods:
        place = f"/api/v1/namespaces/mora-system/pods/{pod.removeprefix('pod/')}:8080/proxy/metrics"
        lines = namespace.kubectl("get", "--raw", place).splitlines()
        (line,) = [line for line in lines if line.startswith("process_resident_memory_bytes ")]
        found[pod] = int(float(line.split()[1]))
    return found


def files_of(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}
