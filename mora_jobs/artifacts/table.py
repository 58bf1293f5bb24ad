"""A table that can be resumed: zstd parquet parts, one row per key, and a manifest that says which parts count.

    <name>/table.json            the schema
    <name>/parts/<unique>.parquet
    <name>/manifest/00000000.json …   see manifest.py

What is left to do is the input minus `committed()`. Rows are committed by whole `append`s: all of its rows or none.
"""

import base64
import hashlib
import io
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mora_jobs.artifacts.document import read_json, write_json
from mora_jobs.artifacts.failures import DiskFull
from mora_jobs.artifacts.manifest import KeyConflict, Manifest, Part, PartFile, PartRemoved
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError

FORMAT = 1
ROW_GROUP = 256  # rows; also the size of the batches that are read, so that memory stays bounded
RESTORE = "restore it from a copy, or start over with output.overwritePolicy: Overwrite"


class Table:
    """Rows of `schema` below `store`/`name`; `key` is a string column, unique over the table.

    Any number of processes may read and append at the same time: of two that append the same key exactly one commits,
    the other gets KeyConflict (a ValueError) and its part is discarded. Reading is streamed; only the keys are held.
    """

    def __init__(self, store: Store, name: str, schema: pa.Schema, key: str = "id") -> None:
        if key not in schema.names or not pa.types.is_string(schema.field(key).type):
            raise ValueError(f"the schema of {name} has no string column {key!r}")
        self.store = store.child(name)
        self.schema = schema
        self.key = key
        self._parent, self._name = store, name
        self._manifest = Manifest(self.store)
        self._schema_checked = False
        self._writing = False

    @classmethod
    def open(cls, store: Store, name: str) -> "Table":
        """An existing table with the schema it was made with; UserError when there is none."""
        described = read_json(store, f"{name}/table.json")
        if described is None:
            raise UserError(f"{store.uri}/{name}", "there is no table here")
        schema = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(described["arrow"])))
        return cls(store, name, schema, described["key"])

    def __reduce__(self) -> tuple[type["Table"], tuple[Store, str, pa.Schema, str]]:
        return Table, (self._parent, self._name, self.schema, self.key)

    def committed(self) -> set[str]:
        """Keys with a committed row."""
        self._refresh()
        return set(self._manifest.keys)

    def count(self) -> int:
        """Number of committed rows."""
        self._refresh()
        return len(self._manifest.keys)

    def digest(self) -> str:
        """ "sha256:…" over the committed rows: the same for the same rows, however they were cut into parts."""
        self._refresh()
        total = hashlib.sha256(b"mora table 1\n")
        for row in sorted(bytes.fromhex(each) for each in self._manifest.row_digests()):
            total.update(row)
        return f"sha256:{total.hexdigest()}"

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Commit the rows as one part: all or none.

        ValueError when a row does not fit the schema or a key is null or repeated; KeyConflict (a ValueError) when a key
        is committed already; DiskFull when there is no space, with nothing left behind.
        """
        if not rows:
            return
        data = self._arrow(rows)
        keys = data.column(self.key).to_pylist()
        self._start_writing()
        self._manifest.check(keys)
        body = _parquet(data)
        digests = [_row_digest(row) for row in data.to_pylist()]
        while True:
            path = f"parts/{uuid.uuid4().hex}.parquet"
            part = Part(path, len(rows), len(body), hashlib.sha256(body).hexdigest(), keys, digests)
            try:
                self.store.write(path, body)
                self._manifest.commit(part)
                return
            except PartRemoved:
                continue
            except KeyConflict:
                self.store.delete(path)
                raise
            except DiskFull as error:
                self._manifest.refresh()
                if path in self._manifest.parts:
                    return  # the entry itself arrived: only the flush of its folder failed
                self.store.delete(path)
                kept = f"{self.count()} rows in {len(self._manifest.parts)} parts are kept"
                raise DiskFull(error.where, f"{error.what}; {kept}", error.todo) from error

    def rows(self, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
        """The committed rows in commit order, as dicts. What is committed meanwhile may be missing."""
        for batch in self.batches(columns):
            yield from batch.to_pylist()

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The committed rows in commit order, in batches of at most 256. UserError when a part is damaged."""
        unknown = [name for name in columns or () if name not in self.schema.names]
        if unknown:
            raise ValueError(f"{self.store.uri} has no column {unknown[0]!r}")
        self._refresh()
        for part in list(self._manifest.parts.values()):
            with self._open(part) as file, pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(batch_size=ROW_GROUP, columns=columns, use_threads=False):
                    yield batch.select(columns) if columns else batch

    def _refresh(self) -> None:
        self._check_schema()
        self._manifest.refresh()

    def _check_schema(self) -> None:
        """UserError when the table was made with another schema."""
        if self._schema_checked:
            return
        described = read_json(self.store, "table.json")
        if described is None:
            return
        ours = self._described()
        for name, there, here in (
            ("format", described["format"], FORMAT),
            ("key", described["key"], self.key),
            ("columns", described["columns"], ours["columns"]),
        ):
            if there != here:
                what = f"was made with another {name}: {json.dumps(there)} there, {json.dumps(here)} here"
                raise UserError(self.store.uri, what, "use another output.uri, or output.overwritePolicy: Overwrite")
        self._schema_checked = True

    def _described(self) -> dict[str, Any]:
        columns = {field.name: str(field.type) for field in self.schema}
        arrow = base64.b64encode(self.schema.serialize().to_pybytes()).decode()
        return {"format": FORMAT, "key": self.key, "columns": columns, "arrow": arrow}

    def _start_writing(self) -> None:
        """Once per writer: say what the table is, and collect what dead writers left."""
        if self._writing:
            return
        self._check_schema()
        if not self._schema_checked:
            write_json(self.store, "table.json", self._described())
        self._manifest.refresh()
        self.store.sweep()
        files = [path for path in self.store.list("parts") if path not in self._manifest.parts]
        for path in self._manifest.denounce(files):
            self.store.delete(path)
        self._writing = True

    def _arrow(self, rows: list[dict[str, Any]]) -> pa.Table:
        for row in rows:
            strange = row.keys() - set(self.schema.names)
            if strange:
                raise ValueError(f"{self.store.uri} has no column {sorted(strange)[0]!r}")
        try:
            data = pa.Table.from_pylist(rows, schema=self.schema)
        except (pa.ArrowException, UnicodeEncodeError) as error:
            raise ValueError(f"{self.store.uri}: a row does not fit the schema: {error}") from error
        keys = data.column(self.key)
        if keys.null_count:
            raise ValueError(f"{self.store.uri}: a row has no {self.key!r}")
        if len(keys.unique()) != len(rows):
            raise ValueError(f"{self.store.uri}: a {self.key!r} is repeated in one append")
        return data

    def _open(self, part: PartFile) -> io.BytesIO:
        where = f"{self.store.uri}/{part.path}"
        try:
            data = self.store.read(part.path)
        except FileNotFoundError as error:
            raise UserError(where, "is missing, although the manifest names it", RESTORE) from error
        found = hashlib.sha256(data).hexdigest()
        if found != part.sha256:
            what = (
                f"is damaged: {len(data)} bytes with sha256 {found}, the manifest says {part.bytes} and {part.sha256}"
            )
            raise UserError(where, what, RESTORE)
        return io.BytesIO(data)


def _parquet(data: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(data, sink, compression="zstd", row_group_size=ROW_GROUP)
    return sink.getvalue()


def _row_digest(row: dict[str, Any]) -> str:
    """sha256 of the row as canonical JSON, after the conversion to the schema's types (so 1 and 1.0 are one float)."""
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)
