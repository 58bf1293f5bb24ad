"""Rows of a prompt file, one after the other, with the place that an error message names."""

import csv
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mora_jobs.api import PromptFormat
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError

Record = tuple[str, dict[str, Any]]  # (place, row)


def read_records(uri: str, format: PromptFormat, split: str | None = None) -> Iterator[Record]:
    """Stream the rows of a JSONL, CSV or Parquet file, or of a folder of Parquet files.

    Raises UserError with the file and line of what cannot be read.
    """
    parent, _, name = uri.rstrip("/").rpartition("/")
    store = Store(parent)
    if format is PromptFormat.PARQUET:
        yield from _parquet(store, name, split)
        return
    try:
        file = store.local(name).open("rb")
    except FileNotFoundError:
        raise UserError(uri, "no such file") from None
    with file:
        lines = _lines(uri, file)
        yield from _jsonl(uri, lines) if format is PromptFormat.JSONL else _csv(uri, lines)


def _lines(uri: str, file: Any) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            # A byte order mark is what some editors put first; it is not part of the text.
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{uri}:{number}", f"not UTF-8 (byte {error.start})", "save the file as UTF-8") from None


def _jsonl(uri: str, lines: Iterator[str]) -> Iterator[Record]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{uri}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                place, f"not JSON: {error.msg} at column {error.colno}", "each line is one object"
            ) from None
        if not isinstance(row, dict):
            raise UserError(place, f"a {type(row).__name__} where an object was expected", "each line is one object")
        yield place, row


def _csv(uri: str, lines: Iterator[str]) -> Iterator[Record]:
    reader = csv.DictReader(lines)
    try:
        for row in reader:
            if None in row:
                raise UserError(f"{uri}:{reader.line_num}", "more values than the header has columns")
            yield f"{uri}:{reader.line_num}", {name: value for name, value in row.items() if value is not None}
    except csv.Error as error:
        raise UserError(f"{uri}:{reader.line_num}", f"not CSV: {error}") from None


def _parquet(store: Store, name: str, split: str | None) -> Iterator[Record]:
    names = [name] if name.endswith(".parquet") else [each for each in store.list(name) if each.endswith(".parquet")]
    if split:
        names = [each for each in names if each.rsplit("/", 1)[-1].startswith(split) or f"/{split}/" in each]
    if not names:
        raise UserError(f"{store.uri}/{name}", "no .parquet file there" + (f" for split {split}" if split else ""))
    for each in names:
        place = f"{store.uri}/{each}"
        try:
            number = 0
            for batch in pq.ParquetFile(store.local(each)).iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{place} row {number}", row
        except FileNotFoundError:
            raise UserError(place, "no such file") from None
        except pa.ArrowInvalid as error:
            raise UserError(place, f"not Parquet: {str(error).splitlines()[0]}") from None
