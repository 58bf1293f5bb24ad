"""Five rules of style, each a rating of 0 to 3. They are quick and crude: the example is about weighing them."""

import re

CAUTIONS = re.compile(r"\b(may|might|could|should not|avoid|careful|risk|safe|danger|doctor|never)\b", re.I)
STEPS = re.compile(r"(^|\n)\s*(\d+[.)]|[-*]) |\b(first|then|next|finally)\b", re.I)
HEDGES = re.compile(r"\b(I'm sorry|I cannot|as an AI|it depends|I think|language model)\b", re.I)
SHORT_WORDS = 4


def ordered(prompts: list[str], responses: list[str]) -> list[float]:
    """Steps, in a list or in words."""
    return [float(min(3, len(STEPS.findall(response)))) for response in responses]


def careful(prompts: list[str], responses: list[str]) -> list[float]:
    """Words of caution."""
    return [float(min(3, len(CAUTIONS.findall(response)))) for response in responses]


def direct(prompts: list[str], responses: list[str]) -> list[float]:
    """No hedging."""
    return [3.0 - min(3, len(HEDGES.findall(response))) for response in responses]


def relevant(prompts: list[str], responses: list[str]) -> list[float]:
    """Long words of the question that come back."""
    return [
        float(min(3, len(long_words(prompt) & long_words(response))))
        for prompt, response in zip(prompts, responses, strict=True)
    ]


def fresh(prompts: list[str], responses: list[str]) -> list[float | None]:
    """Different words among all words; nothing can be said of an empty answer."""
    words = [response.lower().split() for response in responses]
    return [None if not each else float(round(3 * len(set(each)) / len(each))) for each in words]


def long_words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > SHORT_WORDS}
