"""What a reward is: something that turns items into raw numbers, one for each, or None where it has none."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Protocol, SupportsFloat, cast, runtime_checkable

from mora_jobs.errors import UserError


@dataclass(frozen=True)
class Item:
    """One response to one prompt. `fields` are the other columns of the prompt's row."""

    id: str
    prompt: str
    response: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Reward(Protocol):
    """A reward function. Its numbers are raw: any scale, either orientation; calibration brings them to [0, 1]."""

    name: str

    def score(self, items: Sequence[Item]) -> list[float | None]:
        """One number per item, in order; None is a missing score and stays missing. Raises UserError."""
        ...

    def close(self) -> None:
        """Give back models and connections; scoring afterwards is not defined."""
        ...


def checked(where: str, scores: object, items: Sequence[Item], todo: str = "") -> list[float | None]:
    """The scores that foreign code returned, as floats and None.

    Raises UserError when they are not a sequence, too few or too many, or hold something that is not a finite number.
    """
    tolist = getattr(scores, "tolist", None)  # numpy arrays, torch tensors, pandas series
    values = tolist() if callable(tolist) else scores
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence):
        raise UserError(where, f"returned {type(scores).__name__}, not a list of {len(items)} numbers", todo)
    if len(values) != len(items):
        raise UserError(where, f"returned {len(values)} scores for {len(items)} responses", todo)
    return [_number(where, value, index, items[index].id, todo) for index, value in enumerate(values)]


def _number(where: str, value: object, index: int, item_id: str, todo: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, Real) or hasattr(value, "dtype"):
        try:
            number = float(cast(SupportsFloat, value))
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    hint = todo or "return None where there is no score"
    raise UserError(
        where, f"returned {value!r:.80} at index {index} (item {item_id}), which is not a finite number", hint
    )
