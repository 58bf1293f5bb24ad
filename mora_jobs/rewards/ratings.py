"""Ratings: a file of prompts, responses and one column of numbers per head; an empty cell is no rating."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora_jobs.api import PromptFormat
from mora_jobs.errors import UserError
from mora_jobs.generation.records import read_records
from mora_jobs.rewards.base import Item

FORMATS = {
    ".jsonl": PromptFormat.JSONL,
    ".json": PromptFormat.JSONL,
    ".csv": PromptFormat.CSV,
    ".parquet": PromptFormat.PARQUET,
}


@dataclass(frozen=True)
class Ratings:
    """`labels[head]` has a number per item, NaN where it was not rated."""

    items: list[Item]
    labels: dict[str, NDArray[np.float64]]


def read_ratings(path: Path, heads: Sequence[str], prompt_field: str, response_field: str) -> Ratings:
    """Read a JSONL, CSV or Parquet file; columns that are neither texts nor heads become the items' fields.

    Raises UserError with the line of what is wrong: a column that is not there, a text that is none, a rating that is
    not a number.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UserError(str(path), f"is of no known format ({', '.join(FORMATS)})")
    items: list[Item] = []
    labels: dict[str, list[float]] = {head: [] for head in heads}
    columns: set[str] = set()
    for place, row in read_records(f"file://{path.resolve()}", FORMATS[suffix]):
        columns |= row.keys()
        texts = [_text(place, row, field) for field in (prompt_field, response_field)]
        fields = {name: value for name, value in row.items() if name not in (prompt_field, response_field, *heads)}
        items.append(Item(str(len(items)), texts[0], texts[1], fields))
        for head in heads:
            labels[head].append(_rating(place, head, row.get(head)))
    if not items:
        raise UserError(str(path), "there is no row in it")
    for head in heads:
        if head not in columns:
            raise UserError(str(path), f"no column {head!r}{_near(head, columns)}")
    return Ratings(items, {head: np.asarray(values) for head, values in labels.items()})


def _text(place: str, row: dict[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        problem = "is not a text" if field in row else f"is missing{_near(field, row)}"
        raise UserError(place, f"{field!r} {problem}")
    return value


def _rating(place: str, head: str, value: Any) -> float:
    if value is None or value == "":
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.inf
    if math.isinf(number):
        raise UserError(place, f"the rating {head!r} is {value!r}, not a number", "leave it empty where there is none")
    return number


def _near(name: str, columns: Any) -> str:
    near = get_close_matches(name, list(columns), 1)
    return f"; did you mean {near[0]!r}?" if near else f"; its columns are {', '.join(sorted(columns)[:12])}"
