"""Given pairs (rule Dataset): rows of a preference data set become rows of PAIRS."""

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from mora_jobs.align.pairs import Yield
from mora_jobs.align.sides import Sides
from mora_jobs.api.training import Columns, Preferences
from mora_jobs.errors import UserError
from mora_jobs.generation.preferences import read_preferences

DATASET = "Dataset"


def given_pairs(
    preferences: Preferences, objectives: Sequence[str], account: Yield, held_out: Collection[str] = ()
) -> Iterator[dict[str, Any]]:
    """Stream the pairs of the file. A pair with an objective has a sign for it alone, any other a sign for all.

    Raises UserError at the row that is wrong: a column that is not there, an objective that the job does not have, an id
    twice. A row may leave empty who wrote its sides. Pairs whose two responses are the same text, or whose prompt is one of
    `held_out`, are left out. Without an id column rows are numbered.
    """
    for each in read_preferences(preferences, "spec.data.preferences"):
        account.prompts[DATASET] += 1
        same = each.chosen == each.rejected
        reason = "SameText" if same else "HeldOut" if each.messages[-1]["content"] in held_out else ""
        if reason:
            account.without[reason] += 1
            continue
        signs = _signs(each.place, each.fields, preferences.columns, objectives)
        account.with_pairs[DATASET] += 1
        account.pairs[DATASET] += 1
        account.sides[_sides(each.place, each.fields, preferences.columns)] += 1
        for objective, sign in zip(objectives, signs, strict=True):
            account.signed[objective] += sign != 0
        yield {
            "id": f"{DATASET}/{each.id}",
            "prompt_id": each.id,
            "kind": DATASET,
            "stage": "",
            "messages": json.dumps(each.messages, ensure_ascii=False),
            "chosen": each.chosen,
            "rejected": each.rejected,
            "chosen_ended": True,
            "rejected_ended": True,
            "signs": signs,
            "strength": 1.0,
            "gaps": [None] * len(objectives),
        }


def _sides(place: str, row: dict[str, Any], columns: Columns) -> Sides:
    """Who wrote the two sides."""
    writers = []
    for field, column in (("chosenModel", columns.chosen_model), ("rejectedModel", columns.rejected_model)):
        if column is None:
            return Sides.UNKNOWN
        if column not in row:
            raise UserError(
                place, f"column {column!r} is missing", f"name it by spec.data.preferences.columns.{field}"
            )
        writers.append(row[column])
    if not all(writers):
        return Sides.UNKNOWN
    return Sides.ONE_MODEL if writers[0] == writers[1] else Sides.TWO_MODELS


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
