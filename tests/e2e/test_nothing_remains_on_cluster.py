"""Fifty experiments created and deleted at every stage of their lives: no object, no file and no memory remains."""

from pathlib import Path

import pytest
from chains import MADE, OURS, await_only, names
from experiments import SECONDS, code, manifests, prepare
from kubectl import Namespace

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
    at_first = memory(namespace)
    for begin in range(BATCH, EXPERIMENTS + BATCH, BATCH):
        create_and_delete(namespace, runtime_image, range(begin, begin + BATCH))
        assert names(namespace, MADE) == before
    at_last = memory(namespace)
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
    namespace.await_that(lambda: len(namespace.listed("rayjobs")) == len(numbers), 60)
    namespace.await_that(
        lambda: any(job.get("status", {}).get("phase") == "Running" for job in namespace.listed("rolloutjobs")),
        SECONDS,
    )
    namespace.kubectl("delete", OURS, "--all", "--wait=false")
    await_only(namespace, before, 180)


def memory(namespace: Namespace) -> dict[str, int]:
    """Resident bytes of the operator's processes by the name of their pods, as they say themselves."""
    found = {}
    for pod, lines in namespace.operator_metrics().items():
        (line,) = [line for line in lines if line.startswith("process_resident_memory_bytes ")]
        found[pod] = int(float(line.split()[1]))
    return found


def files_of(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}
