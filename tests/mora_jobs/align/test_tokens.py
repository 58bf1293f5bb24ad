"""Pairs as tokens."""

import json

import pytest

from mora_jobs import api
from mora_jobs.align.tokens import end_of_turn, tokenize
from mora_jobs.models import fetch, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(fetch(api.ModelRef(uri=f"file://{tiny_model}")))


def row(name="p", chosen="bread is good", rejected="no", ended=(True, True), text="bake?") -> dict:
    return {
        "id": name,
        "messages": json.dumps([{"role": "system", "content": "be kind"}, {"role": "user", "content": text}]),
        "chosen": chosen,
        "rejected": rejected,
        "chosen_ended": ended[0],
        "rejected_ended": ended[1],
        "signs": [1, 0],
        "gaps": [0.4, None],
    }


def test_prompt_and_response_are_what_the_engine_saw_and_said(tokenizer):
    (pair,), dropped = tokenize([row()], tokenizer, 200)
    prompt = "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nbake?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(pair.prompt) == prompt
    assert tokenizer.decode(pair.responses[0]) == "bread is good<|im_end|>"
    assert tokenizer.decode(pair.responses[1]) == "no<|im_end|>"
    assert pair.length == len(pair.prompt) + len(pair.responses[0])
    assert not dropped


def test_a_response_that_was_cut_gets_no_end(tokenizer):
    (pair,), _ = tokenize([row(ended=(False, True))], tokenizer, 200)
    assert tokenizer.decode(pair.responses[0]) == "bread is good"


def test_long_responses_are_cut_at_the_end_and_what_is_left_without_sense_is_dropped(tokenizer):
    (whole,), _ = tokenize([row()], tokenizer, 200)
    room = len(whole.prompt) + 2
    (pair,), _ = tokenize([row()], tokenizer, room)
    assert pair.responses[0] == whole.responses[0][:2]
    pairs, dropped = tokenize(
        [
            row("a", chosen="bread is good", rejected="bread is bad"),
            row("b", text="why " * 90),
            row("c", "", ended=(False, True)),
        ],
        tokenizer,
        room,
    )
    assert pairs == []
    assert dropped == {"SameAfterCut": 2, "PromptTooLong": 1}


def test_pairs_are_in_the_order_of_their_ids(tokenizer):
    pairs, _ = tokenize([row("b"), row("a")], tokenizer, 200)
    assert [pair.id for pair in pairs] == ["a", "b"]


def test_a_turn_may_end_with_another_token_than_a_sequence(tokenizer):
    assert tokenizer.decode([end_of_turn(tokenizer)]) == "<|im_end|>"
    before = tokenizer.eos_token
    tokenizer.eos_token = "<|pad|>"
    try:
        assert tokenizer.decode([end_of_turn(tokenizer)]) == "<|im_end|>"
    finally:
        tokenizer.eos_token = before
