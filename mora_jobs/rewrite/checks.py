"""Checks of a rewrite that need no model, cheapest first; each names its reason in status.rewrites.rejected."""

import json
import re
from collections.abc import Callable

from mora_jobs.rewrite.instructions import Target

REFUSAL = re.compile(
    r"^\W*(i('|’)?m sorry|sorry\b|i can(no|')?t\b|i cannot|i am unable|i('|’)?m unable|as an ai\b|i apologi[sz]e)",
    re.I,
)
META = re.compile(
    r"(rewritten (question|prompt|version)|here('|’)?s (a|the|your) (re|new|possible)|original (question|prompt)|"
    r"^\W*(sure|certainly|of course)[,!]|\b(json|kept_need|added_dims)\b)",
    re.I,
)
# Telling the assistant how to behave would smuggle the reward into the prompt instead of an intent.
LEAK = re.compile(
    r"\b((be|stay|remain|keep it) (\w+ )?(helpful|harmless|safe|honest|truthful|ethical|polite)|"
    r"answer (\w+ )?(helpfully|harmlessly|safely|honestly|truthfully)|"
    r"(do not|don('|’)?t|never) (\w+ ){0,3}(lie|harm|offend)|you (must|should|are) (a |an )?(\w+ )?(assistant|answer|respond|refuse)|"
    r"(system prompt|instruction|reward|preference) (model|above|score)|ignore (all|previous|the above))\b",
    re.I,
)
_OBJECT = re.compile(r"\{.*?\}", re.S)


def parse(answer: str) -> str | None:
    """The rewritten question in a rewriter's answer: the first JSON object with a text `rewritten`; None without one."""
    for match in _OBJECT.finditer(answer):
        try:
            value = json.loads(match.group(), strict=False)
        except ValueError:
            continue
        text = value.get("rewritten") if isinstance(value, dict) else None
        if isinstance(text, str) and text.strip():
            return " ".join(text.split())
    return None


def _refusal(target: Target, text: str, limit: int) -> bool:
    return bool(REFUSAL.search(text))


def _meta(target: Target, text: str, limit: int) -> bool:
    return bool(META.search(text)) and not META.search(target.prompt)


def _unchanged(target: Target, text: str, limit: int) -> bool:
    return text.casefold().split() == target.prompt.casefold().split()


def _too_long(target: Target, text: str, limit: int) -> bool:
    return len(text.split()) > limit


def _leak(target: Target, text: str, limit: int) -> bool:
    return bool(LEAK.search(text)) and not LEAK.search(target.prompt)


CHECKS: dict[str, Callable[[Target, str, int], bool]] = {
    "Refusal": _refusal,
    "MetaText": _meta,
    "Unchanged": _unchanged,
    "TooLong": _too_long,
    "InstructionLeak": _leak,
}


def reject(target: Target, text: str | None, limit: int) -> str | None:
    """The reason for which a rewrite is rejected, or None. `limit` is in words."""
    if text is None:
        return "Unparsable"
    return next((reason for reason, fails in CHECKS.items() if fails(target, text, limit)), None)
