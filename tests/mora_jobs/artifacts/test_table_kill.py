"""kill -9 of a writer: afterwards every row is there once, and what was committed before is there byte by byte."""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mora_jobs.artifacts import local_files
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string())])
KEYS = [f"p{number:03d}" for number in range(48)]
BATCH = 3
FILE_EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.scandir", "os.listdir"}
RANDOM_POINTS = [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 20))]


def expected(key: str) -> dict[str, str]:
    return {"id": key, "text": f"text of {key} " * 50}


def write_what_is_left(store: Store, environment: dict[str, str], die_at: int | None, events: Connection) -> None:
    os.environ.update(environment)
    if die_at is not None:
        kill_at_file_event(die_at, store.uri.removeprefix("file://"))
    table = Table(store, "t", SCHEMA)
    done = table.committed()
    left = [key for key in KEYS if key not in done]
    for start in range(0, len(left), BATCH):
        table.append([expected(key) for key in left[start : start + BATCH]])
        events.send(start)


def kill_at_file_event(number: int, root: str) -> None:
    """kill -9 of this process just before it touches the number-th file below root."""
    count = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        if event in FILE_EVENTS and isinstance(args[0], str | bytes | Path) and os.fsdecode(args[0]).startswith(root):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def run_writer(
    processes: ForkServerContext,
    arguments: tuple[Store, dict[str, str], int | None],
    interrupt: Callable[[Any, Connection], None] | None = None,
) -> int:
    ours, theirs = processes.Pipe()
    writer = processes.Process(target=write_what_is_left, args=(*arguments, theirs))
    writer.start()
    theirs.close()
    if interrupt is not None:
        interrupt(writer, ours)
    drain(ours)
    writer.join()
    assert writer.exitcode is not None
    return writer.exitcode


def drain(events: Connection) -> None:
    try:
        while True:
            events.recv()
    except (EOFError, ConnectionResetError):
        return


def committed_files(store: Store) -> dict[str, bytes]:
    """Manifest entries and the parts that they name, as they are in the store."""
    found = {}
    for path in store.list("t/manifest"):
        found[path] = store.read(path)
        entry = json.loads(found[path])
        if "part" in entry:
            found[f"t/{entry['part']}"] = store.read(f"t/{entry['part']}")
    return found


def resume_until_done(store: Store, attempts: Iterator[Callable[[], int]]) -> int:
    """Run writer after writer until one ends by itself; returns the number of kills."""
    before: dict[str, bytes] = {}
    for kills, attempt in enumerate(attempts):
        code = attempt()
        after = committed_files(store)
        assert before.items() <= after.items()  # nothing that was committed has changed
        before = after
        if code == 0:
            return kills
        assert code == -signal.SIGKILL
    raise AssertionError("never done")


def check_complete(store: Store) -> None:
    table = Table(store, "t", SCHEMA)
    rows = list(table.rows())
    assert sorted(row["id"] for row in rows) == KEYS
    assert rows == [expected(row["id"]) for row in rows]
    table.append([expected("one more")])  # a last writer collects what the last dead one left
    named = {f"t/{part}" for part in table._manifest.parts}
    assert set(store.list("t/parts")) == named


@pytest.mark.parametrize("seed", RANDOM_POINTS)
def test_killed_before_any_file_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: ForkServerContext, seed: int
) -> None:
    store, rng = Store(f"file://{tmp_path}/out"), random.Random(seed)
    attempts = (lambda: run_writer(processes, (store, {}, rng.randrange(1, 100))) for _ in range(60))
    kills = resume_until_done(store, attempts)
    assert kills > 0
    monkeypatch.setattr(local_files, "STALE_SECONDS", -1.0)
    check_complete(store)
    assert not list(tmp_path.rglob(f"{local_files.HIDDEN}*"))


@pytest.mark.parametrize("seed", RANDOM_POINTS)
def test_killed_at_a_random_time(
    shared_store: Store, processes: ForkServerContext, aws_environment: dict[str, str], seed: int
) -> None:
    rng = random.Random(seed)

    def kill_soon(writer: Any, events: Connection) -> None:
        events.recv()  # it has committed something
        time.sleep(rng.uniform(0, 0.08))  # the point of the test is that nobody chose the moment
        writer.kill()

    arguments = (shared_store, aws_environment, None)
    interrupts = [kill_soon, kill_soon, None, None, None]
    resume_until_done(shared_store, (lambda kill=kill: run_writer(processes, arguments, kill) for kill in interrupts))
    check_complete(shared_store)
