"""How a prompt and a response become the tokens that a classifier reads."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mora_jobs import api
from mora_jobs.models import render_chat
from mora_jobs.rewards.base import Item

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoded:
    """Tokens of one input, and the segment of each for models that have segments."""

    ids: list[int]
    segments: list[int] | None = None


def encode(tokenizer: Any, template: api.Template, items: Sequence[Item], max_length: int) -> list[Encoded]:
    """Tokens of each item, at most `max_length`; longer ones lose their beginning, never the response's end.

    Chat: the tokenizer's chat template, which brings its own special tokens. HumanAssistant: the form of Anthropic's
    HH data. Beaver: the form of safe-rlhf, with an end token as in its training. Pair: two segments. Raises UserError
    when Chat is asked for and the tokenizer has no chat template.
    """
    if not items:
        return []
    if template is api.Template.CHAT:
        texts = [_chat(tokenizer, item) for item in items]
        tokens = tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [Encoded(_cut(ids, max_length, tokenizer.bos_token_id)) for ids in tokens]
    arguments: dict[str, Any] = {"truncation": True, "max_length": max_length}
    tokenizer.truncation_side = "left"
    first = [_text(template, item, tokenizer.eos_token) for item in items]
    second = [item.response for item in items] if template is api.Template.PAIR else None
    encoded = tokenizer(first, second, **arguments)
    segments = encoded.get("token_type_ids") or [None] * len(items)
    return [Encoded(ids, segment) for ids, segment in zip(encoded["input_ids"], segments, strict=True)]


def _chat(tokenizer: Any, item: Item) -> str:
    chat = [{"role": "user", "content": item.prompt}, {"role": "assistant", "content": item.response}]
    try:
        return render_chat(tokenizer, chat, add_generation_prompt=False)
    except ValueError as error:
        log.warning("item %s has no score: %s", item.id, error)
        return ""


def _text(template: api.Template, item: Item, end: str | None) -> str:
    match template:
        case api.Template.HUMAN_ASSISTANT:
            return f"\n\nHuman: {item.prompt} \n\nAssistant: {item.response}"
        case api.Template.BEAVER:
            return f"BEGINNING OF CONVERSATION: USER: {item.prompt} ASSISTANT:{item.response}{end or ''}"
        case api.Template.PAIR:
            return item.prompt
        case _:
            return item.response


def _cut(ids: list[int], max_length: int, begin: int | None) -> list[int]:
    """The last tokens, behind the begin token where the text had one: models fall apart without it."""
    if len(ids) <= max_length:
        return ids
    if begin is not None and ids[0] == begin:
        return [begin, *ids[len(ids) - max_length + 1 :]]
    return ids[len(ids) - max_length :]
