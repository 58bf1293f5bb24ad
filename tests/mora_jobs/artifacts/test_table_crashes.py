"""Any interleaving of appends, crashes, lost answers, intruders and resumes leaves each key once (hypothesis)."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mora_jobs.artifacts.failures import StoreUnavailable
from mora_jobs.artifacts.manifest import KeyConflict
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table

SCHEMA = pa.schema([("id", pa.string()), ("append", pa.int32())])
KEYS = "abcdefgh"
WRITERS = 3


class Crash(BaseException):
    """The process is gone: no `except Exception` sees it."""


@dataclass
class Fault:
    """Something that happens around the `at`-th store operation of one append."""

    kind: str  # "crash before" | "crash after" | "lost answer" | "intruder before" | "intruder after"
    at: int
    keys: str  # what the intruder appends
    fresh: bool  # whether the intruder has just been started (and so collects orphans)


@dataclass
class Script:
    fault: Fault | None = None
    intrude: Callable[[Fault], None] | None = None
    count: int = 0

    def around(self, act: Callable[[], object]) -> object:
        fault, self.count = self.fault, self.count + 1
        if fault is None or self.count - 1 != fault.at:
            return act()
        self.fault = None
        if fault.kind == "crash before":
            raise Crash
        if fault.kind == "intruder before" and self.intrude:
            self.intrude(fault)
        result = act()
        if fault.kind == "crash after":
            raise Crash
        if fault.kind == "lost answer":
            raise StoreUnavailable("memory://", "the answer got lost")
        if fault.kind == "intruder after" and self.intrude:
            self.intrude(fault)
        return result


class FaultyStore(Store):
    def __init__(self, uri: str, script: Script) -> None:
        super().__init__(uri)
        self.script = script

    def child(self, name: str) -> "FaultyStore":
        return FaultyStore(f"{self.uri}/{name}", self.script)

    def read(self, path: str) -> bytes:
        return self.script.around(lambda: Store.read(self, path))  # type: ignore[return-value]

    def write(self, path: str, data: bytes) -> None:
        self.script.around(lambda: Store.write(self, path, data))

    def create(self, path: str, data: bytes) -> bool:
        return self.script.around(lambda: Store.create(self, path, data))  # type: ignore[return-value]

    def list(self, prefix: str = "") -> list[str]:
        return self.script.around(lambda: Store.list(self, prefix))  # type: ignore[return-value]

    def delete(self, path: str) -> None:
        self.script.around(lambda: Store.delete(self, path))


@dataclass
class World:
    """Several writers of one table, and what the outcomes of their appends promise."""

    uri: str = field(default_factory=lambda: f"memory://{uuid.uuid4().hex}/out")
    tables: dict[int, tuple[Table, Script]] = field(default_factory=dict)
    appends: list[tuple[str, str]] = field(default_factory=list)  # keys, outcome

    def table(self, writer: int) -> tuple[Table, Script]:
        if writer not in self.tables:
            script = Script()
            self.tables[writer] = Table(FaultyStore(self.uri, script), "t", SCHEMA), script
        return self.tables[writer]

    def append(self, writer: int, keys: str, fault: Fault | None = None) -> None:
        table, script = self.table(writer)
        script.fault, script.count = fault, 0
        script.intrude = lambda each: self.intrude(writer, each)
        number = len(self.appends)
        self.appends.append((keys, "unknown"))
        try:
            table.append([{"id": key, "append": number} for key in keys])
            self.appends[number] = (keys, "done")
        except KeyConflict:
            self.appends[number] = (keys, "refused")
        except StoreUnavailable:
            pass
        except Crash:
            del self.tables[writer]
        script.fault = None

    def intrude(self, writer: int, fault: Fault) -> None:
        other = (writer + 1) % WRITERS
        if fault.fresh:
            self.tables.pop(other, None)
        self.append(other, fault.keys)

    def check(self) -> None:
        rows = list(Table(Store(self.uri), "t", SCHEMA).rows())
        where = {row["id"]: row["append"] for row in rows}
        assert len(where) == len(rows)  # each key once
        for number, (keys, outcome) in enumerate(self.appends):
            there = [key for key in keys if where.get(key) == number]
            assert there == list(keys) or not there  # all rows of an append or none
            assert there or outcome != "done"
            assert not there or outcome != "refused"


keys_strategy = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True).map("".join)
faults = st.builds(
    Fault,
    kind=st.sampled_from(["crash before", "crash after", "lost answer", "intruder before", "intruder after"]),
    at=st.integers(0, 12),
    keys=keys_strategy,
    fresh=st.booleans(),
)
steps = st.tuples(st.integers(0, WRITERS - 1), keys_strategy, st.none() | faults)


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=6))
def test_each_key_once_whatever_happens(script: list[tuple[int, str, Fault | None]]) -> None:
    world = World()
    for writer, keys, fault in script:
        world.append(writer, keys, fault)
        world.check()
    last = Table(Store(world.uri), "t", SCHEMA)
    left = sorted(set(KEYS) - last.committed())
    last.append([{"id": key, "append": -1} for key in left])
    last.append([{"id": "to be a writer in any case", "append": -1}])
    world.check()
    assert {row["id"] for row in last.rows()} == {*KEYS, "to be a writer in any case"}
    assert set(last.store.list("parts")) == set(last._manifest.parts)  # nothing of the dead is left
