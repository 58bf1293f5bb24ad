"""Any interleaving of appends, crashes, lost answers, intruders and resumes leaves each key once (hypothesis)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mora_jobs.artifacts.failures import StoreUnavailable
from mora_jobs.artifacts.manifest import KeyConflict
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table

SCHEMA = pa.schema([("id", pa.string()), ("append", pa.int32())])
KEYS = "abcdefgh"
WRITERS = 2


T = TypeVar("T")
KINDS = [
    "crash before",
    "crash after",
    "unavailable after",
    "answer of the retry",
    "intruder before",
    "intruder after",
]


class Crash(BaseException):
    """The process is gone: no `except Exception` sees it."""


@dataclass
class Fault:
    """Something that happens around the `at`-th store operation of one append."""

    kind: str  # one of KINDS
    at: int
    keys: str  # what the intruder appends
    fresh: bool  # whether the intruder has just been started (and so collects orphans)


@dataclass
class Script:
    fault: Fault | None = None
    intrude: Callable[[Fault], None] = lambda fault: None
    count: int = 0

    def around(self, act: Callable[[], T], lost: Callable[[T], T] | None = None) -> T:
        fault, self.count = self.fault, self.count + 1
        if fault is None or self.count - 1 != fault.at:
            return act()
        self.fault = None
        match fault.kind:
            case "crash before":
                raise Crash
            case "intruder before":
                self.intrude(fault)
                return act()
        result = act()
        match fault.kind:
            case "crash after":
                raise Crash
            case "unavailable after":
                raise StoreUnavailable("dict", "the answer got lost, and we gave up")
            case "intruder after":
                self.intrude(fault)
            case "answer of the retry" if lost is not None:
                return lost(result)
        return result


class FaultyStore(Store):
    """Files in a dict that several stores share; the script sees every operation."""

    def __init__(self, files: dict[str, bytes], script: Script, root: str = "") -> None:
        super().__init__(f"memory://dict/{root}")
        self.files, self.script, self.root = files, script, root

    def child(self, name: str) -> "FaultyStore":
        return FaultyStore(self.files, self.script, f"{self.root}{name}/")

    def read(self, path: str) -> bytes:
        def act() -> bytes:
            if self.root + path not in self.files:
                raise FileNotFoundError(path)
            return self.files[self.root + path]

        return self.script.around(act)

    def read_all(self, paths: Iterable[str]) -> Iterator[bytes]:
        return map(self.read, paths)

    def write(self, path: str, data: bytes) -> None:
        self.script.around(lambda: self.files.__setitem__(self.root + path, data))

    def create(self, path: str, data: bytes) -> bool:
        def act() -> bool:
            absent = self.root + path not in self.files
            if absent:
                self.files[self.root + path] = data
            return absent

        return self.script.around(act, lost=lambda created: False)

    def list(self, prefix: str = "") -> list[str]:
        above = f"{self.root}{prefix}/"
        return self.script.around(lambda: sorted(n.removeprefix(self.root) for n in self.files if n.startswith(above)))

    def delete(self, path: str) -> None:
        self.script.around(lambda: self.files.pop(self.root + path, None))

    def sweep(self) -> None:
        return


@dataclass
class World:
    """Several writers of one table, and what the outcomes of their appends promise."""

    files: dict[str, bytes] = field(default_factory=dict)
    tables: dict[int, tuple[Table, Script]] = field(default_factory=dict)
    appends: list[tuple[str, str]] = field(default_factory=list)  # keys, outcome

    def table(self, writer: int) -> tuple[Table, Script]:
        if writer not in self.tables:
            script = Script()
            self.tables[writer] = Table(FaultyStore(self.files, script), "t", SCHEMA), script
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
        rows = list(Table(FaultyStore(self.files, Script()), "t", SCHEMA).rows())
        where = {row["id"]: row["append"] for row in rows}
        assert len(where) == len(rows)  # each key once
        for number, (keys, outcome) in enumerate(self.appends):
            there = [key for key in keys if where.get(key) == number]
            assert there == list(keys) or not there  # all rows of an append or none
            assert there or outcome != "done"
            assert not there or outcome != "refused"


keys_strategy = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True).map("".join)
# A writer that runs already needs two operations for an append (part, entry), so most faults must hit early to matter.
faults = st.builds(
    Fault,
    kind=st.sampled_from(KINDS),
    at=st.integers(0, 2) | st.integers(0, 12),
    keys=keys_strategy,
    fresh=st.booleans(),
)
steps = st.tuples(st.integers(0, WRITERS - 1), keys_strategy, st.none() | faults)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=6))
def test_each_key_once_whatever_happens(script: list[tuple[int, str, Fault | None]]) -> None:
    world = World()
    for writer, keys, fault in script:
        world.append(writer, keys, fault)
        world.check()
    last = Table(FaultyStore(world.files, Script()), "t", SCHEMA)
    left = sorted(set(KEYS) - last.committed())
    last.append([{"id": key, "append": -1} for key in left])
    last.append([{"id": "to be a writer in any case", "append": -1}])
    world.check()
    assert {row["id"] for row in last.rows()} == {*KEYS, "to be a writer in any case"}
    assert set(last.store.list("parts")) == set(last._manifest.parts)  # nothing of the dead is left
