"""Generation with vLLM: all n samples of a prompt in one request, and a queue that is never empty.

On GPUs the engine has a process of its own (AsyncLLM), so that the GPU does not wait for Python here. On CPUs that process
takes half a minute more to start and gains nothing: there the engine is stepped by a thread of this process.

Samples of a prompt depend on its seed, and now and then on which prompts run beside it: the batch changes the last bits of
the logits (docs: benchmarks/rollouts.py measures how often).
"""

import asyncio
import itertools
import json
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any

import vllm
from vllm import EngineArgs, SamplingParams
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind

from mora_jobs import api
from mora_jobs.api.inputs import EngineType
from mora_jobs.engines import cpu_lora
from mora_jobs.engines.arguments import check_settings, vllm_arguments
from mora_jobs.engines.base import Completion, EngineInfo, Messages, Request, Sample
from mora_jobs.engines.prompting import Prompting, PromptRefused
from mora_jobs.errors import UserError
from mora_jobs.models import LocalModel, combined_adapter, fetch, forget_copies, load_tokenizer

FINISH = {"stop": "Stop", "length": "Length"}


class VLLMEngine:
    """A vLLM engine on GPUs or the CPU for models that differ in their adapters only.

    Raises UserError for what the manifest or the model gets wrong.
    """

    def __init__(self, models: Sequence[api.ModelRef], engine: api.Engine, *, gpus: bool) -> None:
        check_settings(engine, EngineType.VLLM, gpus=gpus)
        variants = [fetch(model) for model in models]
        local = variants[0]
        rank = max(sum(int(each.config.get("r", 0)) for each in variant.adapters) for variant in variants)
        arguments = vllm_arguments(engine, local, _quantized(local), gpus=gpus, rank=rank)
        self._variants, self._numbers = variants, itertools.count(1)
        self._loras = [_lora(next(self._numbers), variant) for variant in variants]
        if rank and not gpus:
            cpu_lora.use_one_adapter_at_a_time()
        tokenizer = load_tokenizer(local)
        try:
            self._core: _OwnProcess | _Stepped = _OwnProcess(arguments) if gpus else _Stepped(arguments)
        except ValueError as error:  # vLLM's word for a setting it cannot follow
            raise UserError(local.uri, f"vLLM refuses it ({_first(error)})") from error
        limit = self._core.max_model_len
        self._prompting = Prompting(tokenizer, limit)
        self._lock = threading.Lock()
        self._ids = itertools.count()
        self.info = EngineInfo(
            engine=EngineType.VLLM.value,
            version=vllm.__version__,
            model=local.uri,
            digest=local.digest,
            device="cuda" if gpus else "cpu",
            max_model_len=limit,
            max_sequences=int(arguments["max_num_seqs"]),
            exact=False,
        )

    async def generate(self, request: Request, sampling: api.Sampling) -> Completion:
        """Draw all samples of the request; sample i has the seed request.seed + i."""
        try:
            ids = self._prompting.encode(request.messages)
        except PromptRefused as error:
            return Completion(request.id, error.tokens, (), str(error))
        greedy = sampling.temperature == 0  # vLLM refuses n > 1 of what would be n times the same
        parameters = SamplingParams(
            n=1 if greedy else request.n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=min(sampling.max_tokens, self._prompting.max_model_len - len(ids)),
            seed=None if greedy else request.seed,
            stop=list(sampling.stop),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        output = await self._core.run(str(next(self._ids)), ids, parameters, self._loras[request.variant])
        samples = []
        for each in sorted(output.outputs, key=lambda one: one.index):
            if each.finish_reason not in FINISH:
                raise RuntimeError(f"vLLM ended a sample with {each.finish_reason!r}")
            drawn = tuple(each.token_ids)
            samples.append(Sample(each.text, len(drawn), FINISH[each.finish_reason], drawn))
        return Completion(request.id, len(ids), tuple(samples * request.n if greedy else samples))

    async def option_logprobs(self, messages: Messages, options: Sequence[str]) -> list[float]:
        """log p(option | chat prompt) in nats. One token is computed for each distinct beginning of the options.

        A prompt that cannot be run raises UserError.
        """
        try:
            prompt, tails = self._prompting.options(messages, options)
        except PromptRefused as error:
            raise UserError("option_logprobs", str(error)) from error
        following: dict[tuple[int, ...], set[int]] = {}
        for tail in tails:
            for end, token in enumerate(tail):
                following.setdefault(tuple(tail[:end]), set()).add(token)
        asked = [self._following(prompt, begin, sorted(tokens)) for begin, tokens in following.items()]
        scores = dict(zip(following, await asyncio.gather(*asked), strict=True))
        return [sum(scores[tuple(tail[:end])][token] for end, token in enumerate(tail)) for tail in tails]

    async def renew(self, models: Sequence[api.ModelRef]) -> None:
        """Load other adapters in place of those before. A number of its own keeps an adapter's cached prefixes apart."""
        before, self._variants = self._variants, [await asyncio.to_thread(fetch, model) for model in models]
        self._loras = [_lora(next(self._numbers), variant) for variant in self._variants]
        for lora in filter(None, self._loras):
            await self._core.load(lora)
        forget_copies(before, self._variants)

    async def close(self) -> None:
        """End the engine."""
        await self._core.close()

    async def _following(self, prompt: list[int], begin: tuple[int, ...], tokens: list[int]) -> dict[int, float]:
        """log p of each of `tokens` after the prompt and `begin`."""
        parameters = SamplingParams(
            max_tokens=1, temperature=0.0, logprob_token_ids=tokens, output_kind=RequestOutputKind.FINAL_ONLY
        )
        output = await self._core.run(str(next(self._ids)), [*prompt, *begin], parameters, self._loras[0])
        scores = output.outputs[0].logprobs[0]
        return {token: float(scores[token].logprob) for token in tokens}


class _OwnProcess:
    """AsyncLLM: the engine in a process of its own."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        self.max_model_len = int(self._engine.model_config.max_model_len)

    async def run(self, name: str, ids: list[int], parameters: SamplingParams, lora: LoRARequest | None) -> Any:
        """The final output of one request. Cancelling it aborts the request."""
        outputs = self._engine.generate({"prompt_token_ids": ids}, parameters, name, lora_request=lora)
        return [output async for output in outputs][-1]  # FINAL_ONLY: there is one

    async def load(self, lora: LoRARequest) -> None:
        """Load an adapter; it takes the place of the one that was used least lately."""
        await self._engine.add_lora(lora)

    async def close(self) -> None:
        self._engine.shutdown()


class _Stepped:
    """LLMEngine, made and stepped by one thread of this process."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._incoming: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._made: Future[int] = Future()
        self._thread = threading.Thread(target=self._serve, args=(arguments,), name="vllm-engine", daemon=True)
        self._thread.start()
        self.max_model_len = self._made.result()

    async def run(self, name: str, ids: list[int], parameters: SamplingParams, lora: LoRARequest | None) -> Any:
        """The final output of one request. Cancelling it aborts the request."""
        future: Future[Any] = Future()
        self._incoming.put((future, name, ids, parameters, lora))
        return await asyncio.wrap_future(future)

    async def load(self, lora: LoRARequest) -> None:
        """Load an adapter; it takes the place of the one that was used least lately."""
        future: Future[Any] = Future()
        self._incoming.put((future, "", [], None, lora))
        await asyncio.wrap_future(future)

    async def close(self) -> None:
        self._incoming.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self, arguments: dict[str, Any]) -> None:
        try:
            from vllm.v1.engine.llm_engine import LLMEngine

            engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
            self._made.set_result(int(engine.model_config.max_model_len))
        except BaseException as error:
            self._made.set_exception(error)
            return
        running: dict[str, Future[Any]] = {}
        try:
            while self._take(engine, running):
                if gone := [name for name, future in running.items() if future.cancelled()]:
                    engine.abort_request(gone)
                    for name in gone:
                        del running[name]
                if not running:
                    continue
                for output in engine.step():
                    if output.finished and (future := running.pop(output.request_id, None)) is not None:
                        _settle(future, output)
        except Exception as error:  # the engine itself is broken: everything in flight fails, whoever asks next too
            for future in running.values():
                _settle(future, error=error)
            while (item := self._incoming.get()) is not None:
                _settle(item[0], error=error)

    def _take(self, engine: Any, running: dict[str, "Future[Any]"]) -> bool:
        """Add what has arrived, waiting for something when nothing runs; False when it is time to end."""
        while True:
            try:
                item = self._incoming.get(block=not running)
            except queue.Empty:
                return True
            if item is None:
                return False
            future, name, ids, parameters, lora = item
            if parameters is None:
                try:
                    _settle(future, engine.add_lora(lora))
                except Exception as error:
                    _settle(future, error=error)
                continue
            try:
                engine.add_request(name, {"prompt_token_ids": ids}, parameters, lora_request=lora)
            except ValueError as error:  # refused before it entered the engine
                _settle(future, error=error)
                continue
            running[name] = future


def _lora(number: int, variant: LocalModel) -> LoRARequest | None:
    adapter = combined_adapter(variant)
    return LoRARequest(f"variant-{number}", number, str(adapter)) if adapter is not None else None


def _quantized(local: LocalModel) -> str | None:
    config = json.loads((local.path / "config.json").read_text(encoding="utf-8"))
    return (config.get("quantization_config") or {}).get("quant_method")


def _settle(future: "Future[Any]", result: Any = None, error: BaseException | None = None) -> None:
    try:
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
    except InvalidStateError:
        pass  # cancelled meanwhile


def _first(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
