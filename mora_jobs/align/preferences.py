"""Given pairs (rule Dataset): rows of a preference data set become rows of PAIRS."""

import json
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from mora_jobs.align.pairs import Yield
from mora_jobs.api.training import Columns, Preferences
from mora_jobs.errors import UserError
from mora_jobs.generation.records import read_records

DATASET = "Dataset"


def given_pairs(
    preferences: Preferences, objectives: Sequence[str], account: Yield, held_out: Collection[str] = ()
) -> Iterator[dict[str, Any]]:
    """Stream the pairs of the file. A pair with an objective has a sign for it alone, any other a sign for all.

    Raises UserError at the row that is wrong: a column that is not there, an objective that the job does not have, an id
    twice. Pairs whose two responses are the same text, or whose prompt is one of `held_out`, are left out. Without an id
    column rows are numbered.
    """
    columns = preferences.columns
    seen: set[str] = set()
    for number, (place, row) in enumerate(read_records(preferences.uri, preferences.format), 1):
        name = str(row.get(columns.id, f"row-{number}"))
        if name in seen:
            raise UserError(place, f"id {name!r} is there twice", "ids must be unique; name the column by columns.id")
        seen.add(name)
        account.prompts[DATASET] += 1
        messages, chosen, rejected = _texts(place, row, columns)
        reason = "SameText" if chosen == rejected else "HeldOut" if messages[-1]["content"] in held_out else ""
        if reason:
            account.without[reason] += 1
            continue
        signs = _signs(place, row, columns, objectives)
        account.with_pairs[DATASET] += 1
        account.pairs[DATASET] += 1
        for objective, sign in zip(objectives, signs, strict=True):
            account.signed[objective] += sign != 0
        yield {
            "id": f"{DATASET}/{name}",
            "prompt_id": name,
            "kind": DATASET,
            "stage": "",
            "messages": json.dumps(messages, ensure_ascii=False),
            "chosen": chosen,
            "rejected": rejected,
            "chosen_ended": True,
            "rejected_ended": True,
            "signs": signs,
            "strength": 1.0,
        }
    if not seen:
        raise UserError(preferences.uri, "there is no pair in it")


def _texts(place: str, row: dict[str, Any], columns: Columns) -> tuple[list[dict[str, str]], str, str]:
    prompt = _value(place, row, columns.prompt, "prompt")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else _chat(place, prompt)
    if messages[-1]["role"] != "user":
        raise UserError(place, f"the chat in {columns.prompt!r} must end with a user's turn")
    return (
        messages,
        _response(place, row, columns.chosen, "chosen"),
        _response(place, row, columns.rejected, "rejected"),
    )


def _response(place: str, row: dict[str, Any], column: str, member: str) -> str:
    """A text, or the last turn of a chat (many data sets repeat the whole dialogue in both columns)."""
    value = _value(place, row, column, member)
    if isinstance(value, str):
        return value
    chat = _chat(place, value)
    if chat[-1]["role"] != "assistant":
        raise UserError(place, f"the chat in {column!r} must end with an assistant's turn")
    return chat[-1]["content"]


def _value(place: str, row: dict[str, Any], column: str, member: str) -> Any:
    value = row.get(column)
    if value is None:
        near = get_close_matches(column, row, 1, 0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"its columns are {', '.join(sorted(row)[:12])}"
        what = f"column {column!r} is {'empty' if column in row else 'missing'}; {hint}"
        raise UserError(place, what, f"name it by spec.data.preferences.columns.{member}")
    return value


def _chat(place: str, value: Any) -> list[dict[str, str]]:
    turns = list(value) if isinstance(value, (list, tuple)) else []
    if not turns or not all(
        isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
        for turn in turns
    ):
        raise UserError(place, "neither a text nor a list of chat turns {role, content}")
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def _signs(place: str, row: dict[str, Any], columns: Columns, objectives: Sequence[str]) -> list[int]:
    if columns.objective is None:
        return [1] * len(objectives)
    name = row.get(columns.objective)
    if name not in objectives:
        known = ", ".join(objectives)
        raise UserError(
            place, f"objective {name!r} is not one of the job's objectives ({known})", "add it or drop the row"
        )
    return [int(name == objective) for objective in objectives]
