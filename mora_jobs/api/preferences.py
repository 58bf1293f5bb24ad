"""Labelled pairs: a file in which one of two answers to a prompt is preferred."""

from typing import Annotated

from pydantic import StringConstraints

from .base import Model
from .inputs import PromptFormat
from .texts import InputURI


class PairColumns(Model):
    """Names of the columns of a preference data set."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=128)] = "id"
    """Id of the pair."""
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=128)] = "prompt"
    """Prompt: a text or chat messages."""
    chosen: Annotated[str, StringConstraints(min_length=1, max_length=128)] = "chosen"
    """Preferred response: a text or chat messages."""
    rejected: Annotated[str, StringConstraints(min_length=1, max_length=128)] = "rejected"
    """Other response: a text or chat messages."""


class LabelledPairs(Model):
    """Given pairs that say which response is better as a whole."""

    uri: InputURI
    """File or folder."""
    format: PromptFormat = PromptFormat.JSONL
    """Format of the file."""
    columns: PairColumns = PairColumns()
    """Names of the columns."""
