"""The transformers engine: samples depend on prompt, seed and index alone; each prompt's fault stays its own."""

import asyncio
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mora_jobs import api
from mora_jobs.engines.base import Completion, Request, request_seed
from mora_jobs.engines.transformers import TransformersEngine
from mora_jobs.errors import UserError

TEXTS = [
    "How do I bake bread?",
    "Is it safe to mix bleach and ammonia?",
    "Grüße! 你好 🙂 ça va?",
    "What is the capital of France? " * 6,
    "x",
    "Please write a short story about a cat.",
    "The user asks a question. " * 3,
]
SAMPLING = api.Sampling(max_tokens=24, temperature=0.9, top_k=50)


def request(text: str, n: int = 4, name: str | None = None, seed: int = 17) -> Request:
    name = name or text[:20]
    return Request(name, ({"role": "user", "content": text},), n, request_seed(seed, name))


def run(engine: TransformersEngine, requests: list[Request], sampling: api.Sampling = SAMPLING) -> list[Completion]:
    async def all_of_them() -> list[Completion]:
        return list(await asyncio.gather(*(engine.generate(each, sampling) for each in requests)))

    return asyncio.run(all_of_them())


def make(model: Path, **settings: object) -> TransformersEngine:
    settings = {"extraArgs": {"max_num_seqs": "32"}} | settings
    return TransformersEngine([api.ModelRef(uri=f"file://{model}")], api.Engine.model_validate(settings))


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[TransformersEngine]:
    made = make(tiny_model)
    yield made
    asyncio.run(made.close())


@pytest.fixture(scope="module")
def expected(engine: TransformersEngine) -> list[Completion]:
    return run(engine, [request(text) for text in TEXTS])


def test_the_tiny_model_is_decoded_in_slots(tiny_model: Path, engine: TransformersEngine) -> None:
    assert engine._slots is not None
    assert engine.info.max_sequences == 32
    assert engine.info.exact
    many = make(tiny_model, extraArgs={})
    assert many.info.max_sequences == 128
    asyncio.run(many.close())


def test_all_samples_of_all_prompts(expected: list[Completion]) -> None:
    assert [each.id for each in expected] == [text[:20] for text in TEXTS]
    for completion in expected:
        assert completion.error is None
        assert len(completion.samples) == 4
        assert len({sample.text for sample in completion.samples}) == 4
        assert all(1 <= sample.tokens <= 24 for sample in completion.samples)
        assert all(sample.finish == "Stop" or sample.tokens == 24 for sample in completion.samples)


@pytest.mark.parametrize("order", range(3))
def test_samples_do_not_depend_on_the_company(
    engine: TransformersEngine, expected: list[Completion], order: int
) -> None:
    requests = [request(text) for text in TEXTS]
    random.Random(order).shuffle(requests)
    crowd = [request(f"{text} {i}", n=30, name=f"crowd {i}") for i, text in enumerate(TEXTS[: 3 * order])]
    found = run(engine, crowd + requests)
    assert {each.id: each for each in found if not each.id.startswith("crowd")} == {each.id: each for each in expected}


def test_one_at_a_time_in_a_fresh_engine_draws_the_same(tiny_model: Path, expected: list[Completion]) -> None:
    fresh = make(tiny_model)
    assert [run(fresh, [request(text)])[0] for text in reversed(TEXTS)] == expected[::-1]
    asyncio.run(fresh.close())


def test_sample_i_does_not_depend_on_n(engine: TransformersEngine, expected: list[Completion]) -> None:
    for text, completion in zip(TEXTS, expected, strict=True):
        assert run(engine, [request(text, n=2)])[0].samples == completion.samples[:2]


def test_more_samples_than_slots(engine: TransformersEngine, expected: list[Completion]) -> None:
    many = run(engine, [request(TEXTS[0], n=100)])[0]
    assert len(many.samples) == 100
    assert many.samples[:4] == expected[0].samples


def test_another_seed_draws_others(engine: TransformersEngine, expected: list[Completion]) -> None:
    assert run(engine, [request(TEXTS[0], seed=18)])[0].samples != expected[0].samples


def test_one_prompt_at_a_time_where_slots_do_not_suit(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mora_jobs.engines.transformers.suits", lambda *_: False)
    engine = make(tiny_model)
    assert engine._slots is None
    requests = [request(text) for text in TEXTS]
    first = run(engine, requests)
    assert all(len({sample.text for sample in each.samples}) == 4 for each in first)
    assert run(engine, requests[::-1]) == first[::-1]
    assert run(engine, requests[2:3], api.Sampling(temperature=0, max_tokens=8))[0].samples[0].tokens <= 8
    asyncio.run(engine.close())


def test_greedy_is_the_models_own_argmax(engine: TransformersEngine) -> None:
    sampling = api.Sampling(temperature=0, max_tokens=12)
    completion = run(engine, [request(TEXTS[0], n=3)], sampling)[0]
    assert completion.samples[0] == completion.samples[1] == completion.samples[2]
    ids = engine._prompting.encode([{"role": "user", "content": TEXTS[0]}])
    with torch.inference_mode():
        out = engine._model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), do_sample=False, max_new_tokens=12
        )
    assert completion.samples[0].text == engine._prompting.decode(out[0, len(ids) :].tolist())


def test_stop_text_ends_a_sample_and_is_cut_off(engine: TransformersEngine, expected: list[Completion]) -> None:
    whole = next(sample for sample in expected[0].samples if len(sample.text) > 12)
    index = expected[0].samples.index(whole)
    stop = whole.text[6:8]
    sampling = SAMPLING.with_changes(stop=[stop, "never seen"])
    cut = run(engine, [request(TEXTS[0])], sampling)[0].samples[index]
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish == "Stop"
    assert 0 < cut.tokens < whole.tokens


def test_end_token_counts_and_is_not_in_the_text(engine: TransformersEngine, tiny_model: Path) -> None:
    samples = run(engine, [request("hello", n=64)], SAMPLING.with_changes(max_tokens=80))[0].samples
    stopped = [sample for sample in samples if sample.finish == "Stop"]
    assert stopped
    assert all("<|im_end|>" not in sample.text for sample in samples)
    assert all(sample.tokens < 80 for sample in stopped)


def test_a_prompt_that_is_too_long_fails_alone(engine: TransformersEngine) -> None:
    long = request("bake bread " * 1000, name="long")
    completions = run(engine, [request("hi"), long])
    assert completions[0].error is None
    assert completions[1].samples == ()
    assert completions[1].error == (
        f"the prompt has {completions[1].prompt_tokens} tokens, prompt and answer together may have 512"
    )


def test_a_prompt_that_nearly_fills_the_context_gets_what_is_left(engine: TransformersEngine) -> None:
    text = "bake bread " * 100
    while len(engine._prompting.encode([{"role": "user", "content": text}])) < 500:
        text += "a "
    completion = run(engine, [request(text, n=2)])[0]
    assert completion.error is None
    assert all(completion.prompt_tokens + sample.tokens <= 512 for sample in completion.samples)


def test_long_requests_that_do_not_fit_the_slots_run_alone(tiny_model: Path, expected: list[Completion]) -> None:
    engine = make(tiny_model)
    assert engine._slots is not None
    engine._slots.longest = 60
    found = run(engine, [request(text) for text in TEXTS])
    short = [i for i, each in enumerate(expected) if each.prompt_tokens + 24 <= 60]
    assert 0 < len(short) < len(TEXTS)
    assert [found[i] for i in short] == [expected[i] for i in short]
    assert all(len(each.samples) == 4 for each in found)
    asyncio.run(engine.close())


def test_cancelling_frees_the_slots(engine: TransformersEngine, expected: list[Completion]) -> None:
    async def cancel_and_ask() -> Completion:
        long = [
            asyncio.ensure_future(engine.generate(request(f"long {i}", n=64), api.Sampling(max_tokens=400)))
            for i in range(6)
        ]
        await engine.generate(request("warm", n=1), SAMPLING)
        for task in long:
            task.cancel()
        return await engine.generate(request(TEXTS[0]), SAMPLING)

    assert asyncio.run(cancel_and_ask()) == expected[0]


def test_a_model_without_a_chat_template_is_refused_at_the_start(tiny_model: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(tiny_model, tmp_path / "bare"))
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"bare: has no chat template; give one in spec.model.chatTemplate"):
        make(bare)


@pytest.mark.parametrize("options", [["1", "2", "10"], [" yes", " no", "Grüße 🙂"]])
def test_option_logprobs_are_the_models(engine: TransformersEngine, options: list[str]) -> None:
    messages = [{"role": "user", "content": TEXTS[1]}]
    prompt, tails = engine._prompting.options(messages, options)
    expected = []
    for tail in tails:
        with torch.inference_mode():
            logits = engine._model(torch.tensor([prompt + tail])).logits[0].double().log_softmax(-1)
        expected.append(sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(tail)))
    found = asyncio.run(engine.option_logprobs(messages, options))
    assert found == pytest.approx(expected, abs=1e-4)
    assert asyncio.run(engine.option_logprobs(messages, options[::-1])) == found[::-1]


@pytest.mark.parametrize(
    ("settings", "where", "what"),
    [
        ({"quantization": "AWQ"}, "engine.quantization", "needs vLLM"),
        ({"tensorParallelSize": 2}, "engine.tensorParallelSize", "one device"),
        ({"maxModelLen": 1024}, "engine.maxModelLen", "more than the 512 tokens"),
        ({"type": "Transformers", "extraArgs": {"block_size": "16"}}, "engine.extraArgs.block_size", "not allowed"),
        ({"extraArgs": {"max_num_seqs": "many"}}, "engine.extraArgs.max_num_seqs", "whole number"),
    ],
)
def test_settings_that_cannot_be_followed(
    tiny_model: Path, settings: dict[str, object], where: str, what: str
) -> None:
    with pytest.raises(UserError, match=what) as caught:
        make(tiny_model, **settings)
    assert caught.value.where == where


def test_half_precision_is_exact_too(tiny_model: Path) -> None:
    engine = make(tiny_model, dtype="BFloat16", extraArgs={"max_num_seqs": "16", "block_size": "32"})
    assert engine._slots is not None
    assert engine._slots.count == 16
    requests = [request(text, n=6) for text in TEXTS]
    first = run(engine, requests)
    assert run(engine, requests[::-1]) == first[::-1]
    assert [run(engine, [each])[0] for each in requests] == first
    asyncio.run(engine.close())
