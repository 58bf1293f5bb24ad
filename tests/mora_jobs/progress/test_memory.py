"""Whether a worker died of its memory limit: control groups of both versions, and real Ray workers of one machine."""

from pathlib import Path

import pytest
import ray

from mora_jobs.api import Exit, ExitClass
from mora_jobs.engines.cluster import start_local
from mora_jobs.progress import memory

LOST = Exit(class_=ExitClass.INFRA, reason="WorkerLost", message="ActorDiedError: it died")
V2 = "low 0\nhigh 3\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"


@pytest.mark.parametrize(
    ("own", "files", "want"),
    [
        pytest.param("0::/\n", {"memory.events": V2}, 2, id="version 2, in a container"),
        pytest.param("0::/user/a\n", {"user/a/memory.events": V2}, 2, id="version 2, in a group of the machine"),
        pytest.param(
            "5:cpu:/x\n4:memory:/kubepods/p\n", {"memory/memory.oom_control": V1}, 4, id="version 1, in a container"
        ),
        pytest.param(
            "4:memory:/g\n", {"memory/g/memory.oom_control": V1}, 4, id="version 1, in a group of the machine"
        ),
        pytest.param("0::/\n", {}, 0, id="nobody counts"),
        pytest.param("4:memory:/g\n", {"memory/g/memory.oom_control": "oom_kill_disable 0\n"}, 0, id="an old kernel"),
    ],
)
def test_the_count_is_found_wherever_the_kernel_keeps_it(tmp_path: Path, own: str, files: dict, want: int) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory.kills(tmp_path, tmp_path / "own") == want


def test_a_lost_worker_is_told_from_one_that_was_killed_for_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_nodes_with_kills", lambda before: ["worker-1"] if before < 3 else [])
    assert memory.judge(LOST, 3) is LOST
    judged = memory.judge(LOST, 2)
    assert (judged.class_, judged.reason) == (ExitClass.APP, "OutOfMemory")
    assert "memory limit of worker-1" in judged.message
    assert judged.message.endswith(LOST.message)


@pytest.mark.parametrize(
    "record",
    [
        Exit(class_=ExitClass.USER_ERROR, reason="InvalidInput", message="x"),
        Exit(class_=ExitClass.APP, reason="ValueError", message="x"),
        Exit(class_=ExitClass.INFRA, reason="Stopped", message="x"),
        Exit(class_=ExitClass.INFRA, reason="StoreUnavailable", message="x"),
    ],
)
def test_what_has_another_cause_keeps_it(monkeypatch: pytest.MonkeyPatch, record: Exit) -> None:
    monkeypatch.setattr(memory, "_nodes_with_kills", lambda before: ["worker-1"])
    assert memory.judge(record, 0) is record


def test_every_node_of_ray_is_asked() -> None:
    """What was killed on this machine before does not count; the answer comes from a real task on the node."""
    if not ray.is_initialized():
        start_local(1)
    assert memory.judge(LOST, memory.kills()) is LOST
    assert memory.judge(LOST, memory.kills() - 1).reason == "OutOfMemory"
