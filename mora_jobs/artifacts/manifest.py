"""The log of a table: which parts count. Right without a lock, for any number of writers, on any store.

Entries are numbered files, `manifest/00000000.json`, `…1.json`, … Whoever wants to commit number n has read all entries
below n, has found none of its keys there, and creates n by put-if-absent. Of two writers that want the same n one gets it;
the other reads that entry, checks again, and tries n + 1 or gives up because its key is taken. So the entries have one
order on which everybody agrees, and a key occurs in one of them only, however the writers overlap: a driver that was
thought dead and writes on is harmless. (Delta Lake's log works in the same way: Armbrust et al., VLDB 2020, section 3.)

A part that no entry names may belong to a dead writer or to one that is about to commit it; no clock can tell. It is
therefore first denounced by an entry {"removed": [part, …]}: from there on nobody may commit it (its writer, if alive,
meets that entry and writes the rows again under another name), and only then is the file deleted.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError

FOLDER = "manifest"


class KeyConflict(ValueError):
    """Some of the keys have a committed row already. `keys` holds them, sorted."""

    def __init__(self, table: str, keys: list[str]) -> None:
        shown = ", ".join(repr(key) for key in keys[:5]) + (", …" if len(keys) > 5 else "")
        super().__init__(f"{table}: {len(keys)} of the keys are already committed: {shown}")
        self.keys = keys


class PartRemoved(Exception):
    """Another writer took the part for an orphan and removed it before it was committed."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of rows. `row_sha256` and `keys` are parallel; only `keys` stay in memory (in Manifest.keys)."""

    part: str
    rows: int
    bytes: int
    sha256: str
    keys: list[str]
    row_sha256: list[str]


@dataclass(frozen=True, slots=True)
class PartFile:
    """What a reader needs to know of a committed part."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass
class Manifest:
    """What this process knows of the log. `refresh` reads what others have added."""

    store: Store
    parts: dict[str, PartFile] = field(default_factory=dict)  # in commit order
    keys: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    next: int = 0
    listed: bool = False

    def refresh(self) -> None:
        """Read the entries that are new since the last look."""
        if not self.listed:
            numbers = sorted(int(path.rsplit("/", 1)[1][:-5]) for path in self.store.list(FOLDER))
            missing = sorted(set(range(len(numbers))) - set(numbers))
            if missing:
                raise self._damaged(missing[0], "is missing")
            for data in self.store.read_all(entry_path(number) for number in numbers):
                self._apply(data)
            self.listed = True
        while True:
            try:
                data = self.store.read(entry_path(self.next))
            except FileNotFoundError:
                return
            self._apply(data)

    def commit(self, part: Part) -> None:
        """Make `part` count. KeyConflict when a key is taken, PartRemoved when the file has been collected meanwhile."""
        data = _encode(asdict(part))
        while True:
            self.check(part.keys)
            if part.part in self.removed:
                raise PartRemoved(part.part)
            if self._append(data):
                return

    def denounce(self, paths: list[str]) -> list[str]:
        """Rule out that any of `paths` is ever committed; returns those that may be deleted now."""
        while True:
            orphans = [path for path in paths if path not in self.parts]
            new = [path for path in orphans if path not in self.removed]
            if not new or self._append(_encode({"removed": new})):
                return orphans

    def check(self, keys: list[str]) -> None:
        """KeyConflict when any of the keys is known to be committed."""
        if not self.keys.isdisjoint(keys):
            self.refresh()  # so that the error names all that are taken
            raise KeyConflict(self.store.uri, sorted(self.keys.intersection(keys)))

    def row_digests(self) -> Iterator[str]:
        """The sha256 of every committed row, in commit order, read again from the store."""
        for data in self.store.read_all(entry_path(number) for number in range(self.next)):
            yield from json.loads(data).get("row_sha256", ())

    def _append(self, data: bytes) -> bool:
        """Try to be entry number `next`. In any case that entry is known afterwards."""
        path = entry_path(self.next)
        if self.store.create(path, data):
            self._apply(data)
            return True
        other = self.store.read(path)
        self._apply(other)
        return other == data  # ours after all: the first try arrived and its answer was lost (part names are unique)

    def _apply(self, data: bytes) -> None:
        try:
            entry = json.loads(data)
            if "removed" in entry:
                self.removed.update(entry["removed"])
            else:
                self.parts[entry["part"]] = PartFile(entry["part"], entry["rows"], entry["bytes"], entry["sha256"])
                self.keys.update(entry["keys"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(self.next, f"is damaged ({error})") from error
        self.next += 1

    def _damaged(self, number: int, what: str) -> UserError:
        where = f"{self.store.uri}/{entry_path(number)}"
        return UserError(where, what, "restore it from a copy, or start over with output.overwritePolicy: Overwrite")


def entry_path(number: int) -> str:
    """Where entry `number` lies."""
    return f"{FOLDER}/{number:08d}.json"


def _encode(entry: dict[str, object]) -> bytes:
    return (json.dumps(entry, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
