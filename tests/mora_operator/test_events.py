"""What is told of a job: each thing once, trouble as a Warning."""

from typing import Any

import pytest
from builders import KEY, NOW, UID, condition

from mora_operator.kube.events import event, news


def status(reason: str, phase: str, stalled: str = "False", degraded: str = "False") -> dict[str, Any]:
    ready = condition("Ready") | {"reason": reason}
    return {"phase": phase, "conditions": [ready, condition("Stalled", stalled), condition("Degraded", degraded)]}


RUNNING = status("Running", "Running")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, status("CreatingCluster", "Provisioning"), [("CreatingCluster", False)]),
        (RUNNING, RUNNING, []),
        (RUNNING, status("Complete", "Complete"), [("Complete", False)]),
        (RUNNING, status("AppFailed", "Failed", stalled="True"), [("AppFailed", True)]),
        (RUNNING, status("AppFailed", "Retrying"), [("AppFailed", True)]),
        (RUNNING, status("Running", "Running", degraded="True"), [("Test", True)]),
        (status("Running", "Running", degraded="True"), RUNNING, []),
    ],
)
def test_what_is_news(before: dict[str, Any], after: dict[str, Any], told: list[tuple[str, bool]]) -> None:
    assert [(each["reason"], bad) for each, bad in news(before, after)] == told


def test_the_same_thing_has_the_same_name_and_another_attempt_another() -> None:
    told = condition("Ready") | {"reason": "Running", "observedGeneration": 1, "message": ""}
    names = [event(KEY, UID, told, attempt, NOW, "pod")["metadata"]["name"] for attempt in (1, 1, 2)]
    assert names[0] == names[1] != names[2]
