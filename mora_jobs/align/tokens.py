"""What is trained on as token ids: the rendered chat prompt, then the responses."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from mora_jobs.models import render_chat


@dataclass
class Example:
    """A prompt with R responses; a pair has two, the chosen one first. `signs` has one for each objective.

    Reference log-probabilities (nats, summed over each response) are filled in before training starts.
    """

    id: str
    prompt: list[int]
    responses: list[list[int]]
    signs: tuple[int, ...]
    reference: tuple[float, ...] = ()
    group: str = ""
    """Prompt that a candidate belongs to (rule Pool)."""
    scores: tuple[tuple[float, ...], ...] = ()
    """Calibrated scores of each response on the objectives (rule Pool)."""
    margins: tuple[float, ...] = ()
    """By how much the reward of each objective is higher for the first response of a pair; NaN where that is unknown."""
    index: int = 0
    """Row of the training data."""

    @property
    def length(self) -> int:
        """Tokens of the longest sequence: what a batch is padded to."""
        return len(self.prompt) + max(map(len, self.responses))


def tokenize(
    rows: Iterable[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[Example], Counter[str]]:
    """The pairs in the order of their ids, and how many had to be left out, by reason.

    A response that ended by itself is followed by the token that ends a turn; one that was cut is not, or the model would
    learn to stop in mid-sentence. Responses are cut at the end to fit `max_length`; a prompt that leaves no room for one
    (PromptTooLong) and responses that are equal after the cut (SameAfterCut) are left out.
    """
    pairs: list[Example] = []
    dropped: Counter[str] = Counter()
    for row, prompt, response in _with_room(rows, tokenizer, max_length, dropped):
        chosen, rejected = (response(row[side], row[f"{side}_ended"]) for side in ("chosen", "rejected"))
        if chosen == rejected or not chosen or not rejected:
            dropped["SameAfterCut"] += 1
            continue
        margins = tuple(math.nan if gap is None else gap for gap in row["gaps"])
        pairs.append(Example(row["id"], prompt, [chosen, rejected], tuple(row["signs"]), margins=margins))
    return pairs, dropped


def tokenize_candidates(
    rows: Iterable[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[Example], Counter[str]]:
    """The candidates of pools as examples of one response, in the order of the pools' ids; what was left out, by reason.

    The same rules as for pairs. Of a prompt at least two candidates must be left (else TooFewCandidates).
    """
    examples: list[Example] = []
    dropped: Counter[str] = Counter()
    for row, prompt, response in _with_room(rows, tokenizer, max_length, dropped):
        responses = [response(text, ended) for text, ended in zip(row["responses"], row["ended"], strict=True)]
        own = [
            Example(f"{row['id']}#{number}", prompt, [ids], (1,), group=row["id"], scores=(tuple(scores),))
            for number, (ids, scores) in enumerate(zip(responses, row["scores"], strict=True))
            if ids
        ]
        if len(own) < 2:
            dropped["TooFewCandidates"] += 1
            continue
        examples += own
    return examples, dropped


def _with_room(
    rows: Iterable[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int, dropped: Counter[str]
) -> Iterator[tuple[dict[str, Any], list[int], Callable[[str, bool], list[int]]]]:
    """Rows in the order of their ids, with the prompt's tokens and what gives those of a response that fits behind it."""
    end = end_of_turn(tokenizer)
    for row in sorted(rows, key=lambda row: str(row["id"])):
        prompt = _ids(tokenizer, render_chat(tokenizer, json.loads(row["messages"]), add_generation_prompt=True))
        room = max_length - len(prompt)
        if room < 1:
            dropped["PromptTooLong"] += 1
            continue

        def response(text: str, ended: bool, room: int = room) -> list[int]:
            return (_ids(tokenizer, text) + ([end] if ended else []))[:room]

        yield row, prompt, response


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that the chat template puts after an assistant's turn, or the tokenizer's end of sequence.

    They differ for some models (gemma ends a turn with <end_of_turn>, a sequence with <eos>).
    """
    mark = "mora"
    turns = [{"role": "user", "content": mark}, {"role": "assistant", "content": mark}]
    tail = render_chat(tokenizer, turns, add_generation_prompt=False).rpartition(mark)[2]
    first = _ids(tokenizer, tail)[:1]
    special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    return int(first[0] if first and first[0] in special else tokenizer.eos_token_id)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    # The template has written the special tokens already.
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
