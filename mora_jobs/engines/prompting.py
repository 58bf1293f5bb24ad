"""Chat messages as the token ids that an engine reads, and options as the ids that would follow them."""

import contextlib
from collections.abc import Sequence
from typing import Any

from mora_jobs.engines.base import Messages
from mora_jobs.models import render_chat


class PromptRefused(ValueError):
    """This prompt cannot be run; the message is one line for the user. `tokens` is its length where it is known."""

    def __init__(self, reason: str, tokens: int = 0) -> None:
        super().__init__(reason)
        self.tokens = tokens


class Prompting:
    """A tokenizer with the limit of its model: `max_model_len` tokens of prompt and answer together.

    Raises UserError when there is no chat template, or it is not valid Jinja: before any prompt is run.
    """

    def __init__(self, tokenizer: Any, max_model_len: int) -> None:
        self.tokenizer = tokenizer
        self.max_model_len = max_model_len
        with contextlib.suppress(ValueError):  # it may refuse this prompt and take those of the job
            render_chat(tokenizer, [{"role": "user", "content": "hello"}])

    def encode(self, messages: Messages) -> list[int]:
        """The prompt's ids. Raises PromptRefused when it is empty, leaves no room for an answer, or the template refuses it."""
        try:
            text = render_chat(self.tokenizer, messages)
        except ValueError as error:
            raise PromptRefused(str(error)) from error
        ids = self._ids(text)
        if not ids:
            raise PromptRefused("the prompt has no tokens")
        if len(ids) >= self.max_model_len:
            reason = f"the prompt has {len(ids)} tokens, prompt and answer together may have {self.max_model_len}"
            raise PromptRefused(reason, len(ids))
        return ids

    def options(self, messages: Messages, options: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """The prompt's ids, and for each option the ids that follow when the model answers with that text.

        An option is tokenized behind the prompt, as it would be in training; only where the two run into one token is
        it tokenized alone. Raises PromptRefused as `encode`, ValueError for an option without tokens.
        """
        prompt = self.encode(messages)
        text = render_chat(self.tokenizer, messages)
        found: list[list[int]] = []
        for option in options:
            whole = self._ids(text + option)
            tail = whole[len(prompt) :] if whole[: len(prompt)] == prompt else self._ids(option)
            if not tail:
                raise ValueError(f"the option {option!r} has no tokens")
            if len(prompt) + len(tail) > self.max_model_len:
                raise PromptRefused(f"prompt and option together exceed {self.max_model_len} tokens", len(prompt))
            found.append(tail)
        return prompt, found

    def decode(self, ids: Sequence[int]) -> str:
        """The text of sampled ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
