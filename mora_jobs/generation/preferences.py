"""Labelled pairs from a file: which of two answers to a prompt is preferred."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from mora_jobs.api.preferences import LabelledPairs, PairColumns
from mora_jobs.errors import UserError
from mora_jobs.generation.records import read_records


@dataclass(frozen=True)
class Preference:
    """One row: the chat up to the user's last turn, both answers, the other columns, and where it stands."""

    id: str
    messages: tuple[dict[str, str], ...]
    chosen: str
    rejected: str
    fields: dict[str, Any]
    place: str


def read_preferences(preferences: LabelledPairs, path: str) -> Iterator[Preference]:
    """Stream the pairs of a file; `path` is the field of the manifest that names it, for the error messages.

    Without an id column rows are numbered. Raises UserError at the row that is wrong (a column that is not there, an id
    twice), and when there is no row.
    """
    columns = preferences.columns
    seen: set[str] = set()
    for number, (place, row) in enumerate(read_records(preferences.uri, preferences.format), 1):
        name = str(row.get(columns.id, f"row-{number}"))
        if name in seen:
            raise UserError(place, f"id {name!r} is there twice", "ids must be unique; name the column by columns.id")
        seen.add(name)
        yield _preference(name, place, row, columns, path)
    if not seen:
        raise UserError(preferences.uri, "there is no pair in it")


def _preference(name: str, place: str, row: dict[str, Any], columns: PairColumns, path: str) -> Preference:
    prompt = _value(place, row, columns.prompt, f"{path}.columns.prompt")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else _chat(place, prompt)
    if messages[-1]["role"] != "user":
        raise UserError(place, f"the chat in {columns.prompt!r} must end with a user's turn")
    used = (columns.id, columns.prompt, columns.chosen, columns.rejected)
    return Preference(
        name,
        tuple(messages),
        _response(place, row, columns.chosen, f"{path}.columns.chosen"),
        _response(place, row, columns.rejected, f"{path}.columns.rejected"),
        {key: value for key, value in row.items() if key not in used},
        place,
    )


def _response(place: str, row: dict[str, Any], column: str, path: str) -> str:
    """A text, or the last turn of a chat (many data sets repeat the whole dialogue in both columns)."""
    value = _value(place, row, column, path)
    if isinstance(value, str):
        return value
    chat = _chat(place, value)
    if chat[-1]["role"] != "assistant":
        raise UserError(place, f"the chat in {column!r} must end with an assistant's turn")
    return chat[-1]["content"]


def _value(place: str, row: dict[str, Any], column: str, path: str) -> Any:
    value = row.get(column)
    if value is None:
        near = get_close_matches(column, row, 1, 0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"its columns are {', '.join(sorted(row)[:12])}"
        what = f"column {column!r} is {'empty' if column in row else 'missing'}; {hint}"
        raise UserError(place, what, f"name it by {path}")
    return value


def _chat(place: str, value: Any) -> list[dict[str, str]]:
    turns = list(value) if isinstance(value, (list, tuple)) else []
    if not turns or not all(
        isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
        for turn in turns
    ):
        raise UserError(place, "neither a text nor a list of chat turns {role, content}")
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]
