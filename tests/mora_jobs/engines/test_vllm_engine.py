"""The vLLM engine on this machine's CPU, with the tiny model: the same interface, the same answers as transformers.

One engine in a process of its own serves all tests: importing vLLM and starting an engine takes half a minute.
"""

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from mora_jobs import api
from mora_jobs.engines.base import Completion, Request, request_seed
from mora_jobs.engines.choice import vllm_missing
from mora_jobs.engines.pool import EnginePool
from mora_jobs.engines.transformers import TransformersEngine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(vllm_missing(gpus=False)), reason=vllm_missing(gpus=False)),
    pytest.mark.usefixtures("ray_local"),
]
SAMPLING = api.Sampling(max_tokens=12, temperature=0.9, top_k=40)
PROMPTS = [[{"role": "user", "content": text}] for text in ("Rate this", "Grüße 🙂", "How do I bake bread?")]


def request(i: int, n: int = 3, text: str = "How do I bake bread number {}? 🙂") -> Request:
    return Request(f"p{i}", ({"role": "user", "content": text.format(i)},), n, request_seed(1, f"p{i}"))


def model(tiny_model: Path, *adapters: Path) -> api.ModelRef:
    entries = [{"name": f"a{i}", "uri": f"file://{each}"} for i, each in enumerate(adapters)]
    return api.ModelRef.model_validate({"uri": f"file://{tiny_model}", "adapters": entries})


def engine(kind: str) -> api.Engine:
    return api.Engine.model_validate({"type": kind, "dtype": "Float32"})


@pytest.fixture(scope="module")
def pool(tiny_model: Path) -> Iterator[EnginePool]:
    with EnginePool(model(tiny_model), engine("VLLM"), SAMPLING) as made:
        yield made


def transformers(refs: list[api.ModelRef], use: Any) -> Any:
    async def whole() -> Any:
        made = TransformersEngine(refs, engine("Transformers"))
        try:
            return await use(made)
        finally:
            await made.close()

    return asyncio.run(whole())


def test_all_samples_of_all_prompts(pool: EnginePool) -> None:
    found = {each.id: each for each in pool.generate(request(i) for i in range(40))}
    assert len(found) == 40
    for completion in found.values():
        assert completion.error is None
        assert len({sample.text for sample in completion.samples}) == 3
        assert all(1 <= sample.tokens <= 12 for sample in completion.samples)
    assert pool.info.engine == "VLLM"
    assert not pool.info.exact


def test_the_same_seed_draws_the_same(pool: EnginePool) -> None:
    runs = [{each.id: each for each in pool.generate(request(i) for i in order)} for order in (range(8), range(8))]
    assert runs[0] == runs[1]


def test_prompts_have_as_many_tokens_as_with_transformers(pool: EnginePool, tiny_model: Path) -> None:
    requests = [request(0), request(1, text="Rate {}"), request(2, n=1, text="Why is number {} not a prime? Tell me.")]

    async def ask(other: TransformersEngine) -> list[Completion]:
        return [await other.generate(each, SAMPLING) for each in requests]

    wanted = {each.id: each.prompt_tokens for each in transformers([model(tiny_model)], ask)}
    assert {each.id: each.prompt_tokens for each in pool.generate(requests)} == wanted
    assert len(set(wanted.values())) == 3


def test_a_prompt_that_is_too_long_fails_alone(pool: EnginePool) -> None:
    long = request(99, text="bake bread " * 600)
    found: dict[str, Completion] = {each.id: each for each in pool.generate([request(0), long])}
    assert found["p0"].error is None
    assert "prompt and answer together may have 512" in (found["p99"].error or "")


def test_option_logprobs_are_those_of_transformers(pool: EnginePool, tiny_model: Path) -> None:
    options = ["1", "2", "10", " yes"]

    async def ask(made: TransformersEngine) -> Any:
        return [await made.option_logprobs(prompt, options) for prompt in PROMPTS]

    expected = transformers([model(tiny_model)], ask)
    for found, wanted in zip(pool.option_logprobs(PROMPTS, options), expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-4)
    # Whoever is asked beside it, the answer is the same.
    for prompt, together in zip(PROMPTS, pool.option_logprobs(PROMPTS * 5, options), strict=False):
        assert pool.option_logprobs([prompt], options)[0] == pytest.approx(together, abs=1e-4)


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters of different ranks that change the answers a lot."""
    folder = tmp_path_factory.mktemp("adapters")
    for seed in (1, 2):
        base = AutoModelForCausalLM.from_pretrained(tiny_model)
        settings = {"r": 4 * seed, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
        adapted = get_peft_model(base, LoraConfig(**settings))
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
        adapted.save_pretrained(folder / str(seed))
    return [folder / "1", folder / "2"]


def test_adapters_are_in_force_and_variants_answer_from_one_engine(tiny_model: Path, adapters: list[Path]) -> None:
    refs = [model(tiny_model, *adapters), model(tiny_model), model(tiny_model, adapters[0])]
    options = ["1", "10", " yes"]
    greedy = SAMPLING.with_changes(temperature=0.0, max_tokens=8)
    requests = [dataclasses.replace(request(i, n=1), variant=v) for v in (0, 1, 2, 0) for i in range(4)]

    async def ask(made: TransformersEngine) -> Any:
        answers = await asyncio.gather(*(made.generate(each, greedy) for each in requests))
        return [each.samples[0].text for each in answers], await ask_options(made)

    async def ask_options(made: TransformersEngine) -> Any:
        return [await made.option_logprobs(prompt, options) for prompt in PROMPTS]

    texts, expected = transformers(refs, ask)
    plain = transformers(refs[1:2], ask_options)
    with EnginePool(refs[0], engine("VLLM"), greedy, variants=refs[1:]) as pool:
        found = pool.option_logprobs(PROMPTS, options)
        answers = [next(iter(pool.generate([each]))).samples[0].text for each in requests]
    for ours, theirs, without in zip(found, expected, plain, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
        assert ours != pytest.approx(without, abs=0.1)
    assert [each.rstrip("�") for each in answers] == [
        each.rstrip("�") for each in texts
    ]  # half a character at the end
    assert texts[:4] == texts[12:]
    assert texts[:4] != texts[4:8] != texts[8:12]


def test_a_renewed_engine_answers_with_other_adapters(tiny_model: Path, adapters: list[Path]) -> None:
    greedy = SAMPLING.with_changes(temperature=0.0, max_tokens=8)
    # Both ranks fit what the engine was made for: the larger one comes first.
    first, second = (model(tiny_model, each) for each in adapters[::-1])
    requests = [request(i, n=1) for i in range(4)]

    def texts(pool: EnginePool) -> list[str]:
        found = {each.id: each.samples[0].text for each in pool.generate(requests)}
        return [found[each.id].rstrip("�") for each in requests]

    async def ask(made: TransformersEngine) -> Any:
        answers = [await made.generate(each, greedy) for each in requests]
        return [each.samples[0].text.rstrip("�") for each in answers]

    with EnginePool(first, engine("VLLM"), greedy) as pool:
        before = texts(pool)
        pool.renew(second, 120)
        assert texts(pool) == transformers([second], ask) != before
        pool.renew(first, 120)
        assert texts(pool) == before
