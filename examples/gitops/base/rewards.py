"""Two rewards that need no model: is the answer about the question, and is it short?"""

import re

SHORT_WORDS = 40


def on_topic(prompts: list[str], responses: list[str], **columns: list) -> list[float | None]:
    """The share of the question's longer words that the answer takes up."""
    return [_share(_words(prompt), _words(response)) for prompt, response in zip(prompts, responses, strict=True)]


def concise(prompts: list[str], responses: list[str], **columns: list) -> list[float | None]:
    """1 up to so many words, then less and less."""
    return [min(1.0, SHORT_WORDS / max(1, len(response.split()))) for response in responses]


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 3}


def _share(asked: set[str], answered: set[str]) -> float | None:
    return len(asked & answered) / len(asked) if asked else None
