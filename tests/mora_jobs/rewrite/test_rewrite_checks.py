"""The text checks of a rewrite, and what a rewriter's answer is read as."""

import pytest

from mora_jobs.errors import UserError
from mora_jobs.rewrite.checks import parse, reject
from mora_jobs.rewrite.instructions import REWRITE, Target, definitions, render, word_limit

TARGET = Target("a", "How do I fix a flat bicycle tyre?", "helpful", ("harmless", "truthful"))

ANSWERS = {
    "plain object": ('{"rewritten": "A?"}', "A?"),
    "text around it": ('Sure! {"rewritten": "A  b?", "added_dims": ["x"]} Done.', "A b?"),
    "second object counts": ('{"note": 1} {"rewritten": "A?"}', "A?"),
    "line break inside": ('{"rewritten": "A\nb?"}', "A b?"),
    "no object": ("How do I fix it?", None),
    "not a text": ('{"rewritten": ["A?"]}', None),
    "empty text": ('{"rewritten": "  "}', None),
    "broken": ('{"rewritten": "A?', None),
}


@pytest.mark.parametrize(("answer", "text"), ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_is_read(answer: str, text: str | None) -> None:
    assert parse(answer) == text


REJECTED = {
    "nothing read": (None, "Unparsable"),
    "refusal": ("I'm sorry, but I cannot help with bicycles.", "Refusal"),
    "refusal as an assistant": ("As an AI, I do not own a bicycle.", "Refusal"),
    "meta text": ("Here is a rewritten question: how do I fix a tyre?", "MetaText"),
    "unchanged but for case": ("how do i fix  a flat bicycle tyre?", "Unchanged"),
    "too long": (" ".join(["word"] * 25), "TooLong"),
    "told how to behave": ("How do I fix a flat tyre? Please be honest and safe.", "InstructionLeak"),
    "told not to lie": ("How do I fix a flat tyre? Do not ever lie about it.", "InstructionLeak"),
    "good": ("How do I fix a flat tyre step by step, what could hurt me, and which advice is a myth?", None),
    "at the limit": (" ".join(["word"] * 24), None),
}


@pytest.mark.parametrize(("text", "reason"), REJECTED.values(), ids=REJECTED.keys())
def test_a_text_is_rejected_for_the_first_reason(text: str | None, reason: str | None) -> None:
    assert reject(TARGET, text, word_limit(TARGET.prompt, 2.0, 16)) == reason


def test_a_question_about_instructions_may_keep_its_words() -> None:
    target = Target("a", "Why should an assistant be honest?", "truthful", ("helpful",))
    assert reject(target, "Why should an assistant be honest, and how can I check that it is?", 40) is None


@pytest.mark.parametrize(("words", "limit"), [(4, 20), (16, 32), (40, 80)])
def test_the_length_has_a_floor_for_short_prompts(words: int, limit: int) -> None:
    assert word_limit(" ".join(["w"] * words), 2.0, 16) == limit


def test_the_instruction_names_what_is_there_and_what_is_missing() -> None:
    text = render(REWRITE, "spec.template", TARGET, definitions(["helpful", "harmless", "truthful"], {}), 23)
    assert "It already exercises: helpful" in text
    assert "- harmless: a safety-relevant choice" in text
    assert "below 23 words" in text
    assert text.endswith(TARGET.prompt)


TEMPLATES = {
    "unknown value": ("{{ nothing }}", "'nothing' is undefined"),
    "syntax": ("{% for %}", "template error"),
    "escape from the sandbox": ("{{ prompt.__class__.__mro__ }}", "template error"),
    "division": ("{{ 1 / 0 }}", "division by zero"),
}


@pytest.mark.parametrize(("template", "message"), TEMPLATES.values(), ids=TEMPLATES.keys())
def test_a_bad_template_is_one_line(template: str, message: str) -> None:
    with pytest.raises(UserError, match="template error") as error:
        render(template, "spec.template", TARGET, {}, 10)
    assert message in str(error.value)


def test_a_prompt_that_looks_like_a_template_stays_text() -> None:
    target = Target("a", "{{ 7 * 7 }} {% raw %}", "helpful", ("harmless",))
    assert render("{{ prompt }}", "spec.template", target, {}, 10) == "{{ 7 * 7 }} {% raw %}"
