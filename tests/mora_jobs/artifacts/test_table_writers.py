"""Many writers at once, dead ones and ones that were only thought dead: each key is committed once."""

import itertools
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.context import ForkServerContext
from typing import Any

import pyarrow as pa
import pytest

from mora_jobs.artifacts.manifest import KeyConflict, Part
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table

SCHEMA = pa.schema([("id", pa.string()), ("writer", pa.int32())])


def rows(writer: int, keys: list[str]) -> list[dict[str, Any]]:
    return [{"id": key, "writer": writer} for key in keys]


def append_all(store: Store, writer: int, keys: list[str]) -> list[str]:
    """Append the keys two by two; returns those that this writer got."""
    table, won = Table(store, "t", SCHEMA), []
    for pair in zip(keys[::2], keys[1::2], strict=True):
        try:
            table.append(rows(writer, list(pair)))
            won.extend(pair)
        except KeyConflict:
            continue
    return won


def set_environment(values: dict[str, str]) -> None:
    os.environ.update(values)


def check_exactly_once(store: Store, won: list[list[str]]) -> None:
    table = Table(store, "t", SCHEMA)
    found = {each["id"]: each["writer"] for each in table.rows()}
    assert table.count() == len(list(table.rows())) == len(found) == sum(map(len, won))
    assert found == {key: writer for writer, keys in enumerate(won) for key in keys}
    named = {f"t/{part}" for part in table._manifest.parts}
    assert set(store.list("t/parts")) == named  # the losers' parts are gone


def test_threads_race_for_the_same_keys(store: Store) -> None:
    keys = [f"{number:02d}" for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda writer: append_all(store, writer, keys if writer % 2 else keys[::-1]), range(4)))
    check_exactly_once(store, won)
    assert sorted(itertools.chain(*won)) == keys


def test_processes_race_for_the_same_keys(
    shared_store: Store, processes: ForkServerContext, aws_environment: dict[str, str]
) -> None:
    keys = [f"{number:02d}" for number in range(12)]
    with ProcessPoolExecutor(2, processes, set_environment, (aws_environment,)) as pool:
        won = list(pool.map(append_all, [shared_store] * 4, range(4), [keys] * 4))
    check_exactly_once(shared_store, won)
    assert sorted(itertools.chain(*won)) == keys


def test_parts_without_an_entry_do_not_count_and_are_collected(store: Store) -> None:
    first = Table(store, "t", SCHEMA)
    first.append(rows(0, ["a"]))
    store.write("t/parts/orphan.parquet", b"whatever a dead writer left")
    reader = Table(store, "t", SCHEMA)
    assert [each["id"] for each in reader.rows()] == ["a"]
    assert store.exists("t/parts/orphan.parquet")  # a reader changes nothing
    digest = reader.digest()
    Table(store, "t", SCHEMA).append(rows(1, ["b"]))
    assert not store.exists("t/parts/orphan.parquet")
    first.append(rows(0, ["c"]))
    assert [each["id"] for each in reader.rows()] == ["a", "b", "c"]
    assert reader.digest() != digest


def test_collecting_leaves_no_trace_in_the_digest(store: Store) -> None:
    for name in ("clean", "crashed"):
        if name == "crashed":
            store.write(f"{name}/parts/orphan.parquet", b"x")
        Table(store, name, SCHEMA).append(rows(0, ["a"]))
    assert len(store.list("crashed/manifest")) == 2
    assert Table.open(store, "clean").digest() == Table.open(store, "crashed").digest()


def test_a_collector_that_died_before_deleting_is_followed_up(store: Store) -> None:
    store.write("t/parts/orphan.parquet", b"x")
    dead = Table(store, "t", SCHEMA)
    dead._manifest.refresh()
    assert dead._manifest.denounce(["parts/orphan.parquet"]) == ["parts/orphan.parquet"]
    Table(store, "t", SCHEMA).append(rows(0, ["a"]))
    assert not store.exists("t/parts/orphan.parquet")
    assert len(store.list("t/manifest")) == 2  # not denounced twice


def test_a_writer_whose_part_was_collected_writes_it_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Table(store, "t", SCHEMA)
    slow.append(rows(0, ["a"]))
    commit, intruded = slow._manifest.commit, []

    def commit_late(part: Part) -> None:
        if not intruded:  # between the part and its entry another writer starts, and takes the part for an orphan
            intruded.append(part.part)
            Table(store, "t", SCHEMA).append(rows(1, ["b"]))
            assert not store.exists(f"t/{part.part}")
        commit(part)

    monkeypatch.setattr(slow._manifest, "commit", commit_late)
    slow.append(rows(0, ["c"]))
    check_exactly_once(store, [["a", "c"], ["b"]])


def test_a_lost_answer_is_no_conflict(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(store, "t", SCHEMA)
    create = table.store.create

    def arrives_but_says_taken(path: str, data: bytes) -> bool:
        assert create(path, data)
        return False

    monkeypatch.setattr(table.store, "create", arrives_but_says_taken)
    table.append(rows(0, ["a"]))
    table.append(rows(0, ["b"]))
    check_exactly_once(store, [["a", "b"]])


def test_a_part_that_is_committed_while_it_is_being_denounced_stays(store: Store) -> None:
    starting, running = Table(store, "t", SCHEMA), Table(store, "t", SCHEMA)
    starting._manifest.refresh()  # sees no entries; then the running writer commits the part that looked like an orphan
    running.append(rows(0, ["a"]))
    part = next(iter(running._manifest.parts))
    assert starting._manifest.denounce([part, "parts/orphan.parquet"]) == ["parts/orphan.parquet"]
    check_exactly_once(store, [["a"]])
