"""What a head sees of a prompt and a response: parts of a feature vector, made from sentence embeddings."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mora_jobs.rewards.base import Item

Floats = NDArray[np.float64]


class Part(StrEnum):
    """One part of a feature vector."""

    ANSWER = "answer"  # embedding of the response
    PRODUCT = "answer*prompt"  # element-wise product of the two embeddings: how the response takes up the prompt
    COSINE = "cosine"  # cosine of response and prompt
    STATEMENTS = "statements"  # nearness to reference statements that come with the prompt


class TextEncoder(Protocol):
    """Sentence embeddings of length 1."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class Embeddings:
    """Embeddings of all texts that some items need, each text encoded once (a prompt has many responses)."""

    def __init__(self, encoder: TextEncoder, items: Sequence[Item], columns: Mapping[str, str]) -> None:
        self.items, self._columns = items, columns
        texts = [text for item in items for text in (item.prompt, item.response)]
        texts += [text for item in items for column in columns.values() for text in statements(item.fields, column)]
        unique = list(dict.fromkeys(texts))
        self._vectors = encoder.encode(unique).astype(np.float64)
        self._row = {text: row for row, text in enumerate(unique)}

    def of(self, texts: Sequence[str]) -> Floats:
        return self._vectors[[self._row[text] for text in texts]]

    def features(self, recipe: Sequence[Part]) -> Floats:
        """[items, width of the recipe]. A row is NaN where the item lacks reference statements that the recipe needs."""
        return np.concatenate([self._part(part) for part in recipe], axis=1)

    def _part(self, part: Part) -> Floats:
        if part is Part.STATEMENTS:
            return np.stack([self._nearness(item) for item in self.items])
        answers = self.of([item.response for item in self.items])
        if part is Part.ANSWER:
            return answers
        product = answers * self.of([item.prompt for item in self.items])
        return product if part is Part.PRODUCT else product.sum(axis=1, keepdims=True)

    def _nearness(self, item: Item) -> Floats:
        """Cosine to the nearest true and the nearest false statement, and their difference."""
        answer = self.of([item.response])[0]
        sides = [statements(item.fields, self._columns.get(side, side)) for side in ("true", "false")]
        if not all(sides):
            return np.full(3, np.nan)
        true, false = (float((self.of(side) @ answer).max()) for side in sides)
        return np.array([true, false, true - false])


def statements(fields: Mapping[str, Any], column: str) -> list[str]:
    """The statements in a column of a prompt's row: a text or a list of texts."""
    value = fields.get(column)
    values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [text for text in values if isinstance(text, str) and text.strip()]
