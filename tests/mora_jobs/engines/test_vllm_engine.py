"""The vLLM engine on this machine's CPU, with the tiny model: the same interface, the same answers as transformers.

One engine in a process of its own serves all tests: importing vLLM and starting an engine takes half a minute.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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


def transformers(ref: api.ModelRef, use: Any) -> Any:
    async def whole() -> Any:
        made = TransformersEngine(ref, engine("Transformers"))
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


def test_a_prompt_that_is_too_long_fails_alone(pool: EnginePool) -> None:
    long = request(99, text="bake bread " * 600)
    found: dict[str, Completion] = {each.id: each for each in pool.generate([request(0), long])}
    assert found["p0"].error is None
    assert "prompt and answer together may have 512" in (found["p99"].error or "")


def test_option_logprobs_are_those_of_transformers(pool: EnginePool, tiny_model: Path) -> None:
    options = ["1", "2", "10", " yes"]

    async def ask(made: TransformersEngine) -> Any:
        return [await made.option_logprobs(prompt, options) for prompt in PROMPTS]

    expected = transformers(model(tiny_model), ask)
    for found, wanted in zip(pool.option_logprobs(PROMPTS, options), expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-4)
    # Whoever is asked beside it, the answer is the same.
    for prompt, together in zip(PROMPTS, pool.option_logprobs(PROMPTS * 5, options), strict=False):
        assert pool.option_logprobs([prompt], options)[0] == pytest.approx(together, abs=1e-4)


def test_two_adapters_are_in_force_as_in_transformers(tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for seed in (1, 2):
        base = AutoModelForCausalLM.from_pretrained(tiny_model)
        settings = {"r": 4 * seed, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
        adapted = get_peft_model(base, LoraConfig(**settings))
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
        adapted.save_pretrained(tmp_path / str(seed))
    ref = model(tiny_model, tmp_path / "1", tmp_path / "2")
    options = ["1", "10", " yes"]

    async def ask(made: TransformersEngine) -> Any:
        return [await made.option_logprobs(prompt, options) for prompt in PROMPTS]

    expected, plain = transformers(ref, ask), transformers(model(tiny_model), ask)
    with EnginePool(ref, engine("VLLM"), SAMPLING) as pool:
        found = pool.option_logprobs(PROMPTS, options)
        assert all(len(each.samples) == 3 for each in pool.generate(request(i) for i in range(4)))
    for ours, theirs, without in zip(found, expected, plain, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
        assert ours != pytest.approx(without, abs=0.1)
