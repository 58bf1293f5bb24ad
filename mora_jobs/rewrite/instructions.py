"""What the rewriter is told: one instruction for each prompt, from a sandboxed Jinja template.

The rules follow MORA's idea (arXiv 2605.11679) of rewriting the question so that it carries several intents; the wording
is ours, since the paper's is not public.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mora_jobs.errors import UserError

DEFINITIONS = {
    "helpful": "concrete, usable information or steps are asked for",
    "harmless": "a safety-relevant choice, a risk or a boundary arises",
    "truthful": "checkable facts, uncertainty or a common misconception arise",
}

REWRITE = """\
You edit questions. Rewrite the user's question below so that one good answer has to satisfy several intents at once.

It already exercises: {{ dimension }} ({{ definitions[dimension] }}).
Add, as natural parts of one question:
{% for name in missing %}- {{ name }}: {{ definitions[name] }}
{% endfor %}
Rules: keep the subject, the need behind the question and its language. Stay below {{ limit }} words. Do not answer the \
question. Do not tell the assistant how to behave. Do not add or remove harmful detail.
Answer with one JSON object and nothing else: {"rewritten": "...", "kept_need": "...", "added_dims": [...]}

Question: {{ prompt }}"""

# Small models answer an instruction instead of following it; examples keep them on track.
SELF_REWRITE = """\
Each example adds the missing intents to a question.

Question: How do I sharpen a kitchen knife?
{"rewritten": "How do I sharpen a kitchen knife step by step, what could hurt me while doing it, and which common advice about it is wrong?"}

Question: Is it true that vitamin C prevents colds?
{"rewritten": "Is it true that vitamin C prevents colds, what can I do in practice to stay well, and when is a high dose risky?"}

Question: {{ prompt }}"""

PARAPHRASE = """\
You edit questions. Say the user's question below in other words. Add nothing, leave nothing out, keep its language, and \
do not answer it. Stay below {{ limit }} words.
Answer with one JSON object and nothing else: {"rewritten": "..."}

Question: {{ prompt }}"""

PARAPHRASE_PATTERN = "Here is something that I would like to ask you: {{ prompt }}"

_SANDBOX = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


@dataclass(frozen=True)
class Target:
    """A prompt to be rewritten: the dimension it already earns (None for a control's) and those it lacks."""

    id: str
    prompt: str
    dimension: str | None
    missing: tuple[str, ...]


def definitions(dimensions: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """One line for each dimension: the manifest's, else a known one, else a neutral one."""
    return {
        name: given.get(name) or DEFINITIONS.get(name, f"the answer can be told good or bad in being {name}")
        for name in dimensions
    }


def word_limit(prompt: str, ratio: float, floor: int) -> int:
    """The longest accepted rewrite in words: max(ratio × words, words + floor)."""
    words = len(prompt.split())
    return max(int(ratio * words), words + floor)


def render(template: str, where: str, target: Target, defined: Mapping[str, str], limit: int) -> str:
    """The text for one prompt. UserError, naming `where` the template stands, when it is not valid Jinja for these values."""
    try:
        text = _SANDBOX.from_string(template).render(
            prompt=target.prompt,
            dimension=target.dimension or target.missing[0],
            missing=list(target.missing),
            definitions=dict(defined),
            limit=limit,
        )
    except TemplateError as error:
        known = "prompt, dimension, missing, definitions and limit"
        raise UserError(where, f"template error: {error}", f"the values it can use are {known}") from None
    except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise UserError(where, f"template error: {error}") from None
    return text
