"""Generation with transformers, for machines without vLLM: slower, but exact.

A sample depends on its prompt, its seed and its index alone, to the last bit: not on which prompts run beside it, nor on
their order, nor on whether the run was interrupted. Samples of many prompts are drawn together in fixed slots (slots.py);
where these are not independent of each other, one prompt is drawn at a time.
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any

import torch
import transformers

from mora_jobs import api
from mora_jobs.api.inputs import EngineType
from mora_jobs.engines.arguments import check_settings, checked_arguments
from mora_jobs.engines.base import Completion, EngineInfo, Messages, Request
from mora_jobs.engines.draw import draw
from mora_jobs.engines.prompting import Prompting, PromptRefused
from mora_jobs.engines.rows import Job, Row
from mora_jobs.engines.slots import Slots, prefill, suits
from mora_jobs.errors import UserError
from mora_jobs.models import fetch, forget_copies, load_causal_lm, load_tokenizer

CACHE_BYTES = 4 * 2**30  # what the slots' keys and values may take …
USUAL_TOKENS = 1024  # … when rows are so long
MAX_SLOTS = 128
PROMPTS_READ_AHEAD = 4  # per step: reading many prompts at once would let the slots wait


class TransformersEngine:
    """A causal language model of transformers on the first GPU or the CPU. Raises UserError.

    Of `models`, which differ in their adapters only, one is loaded at a time: a request for another one waits until what
    runs has ended.
    """

    def __init__(self, models: Sequence[api.ModelRef], engine: api.Engine) -> None:
        check_settings(engine, EngineType.TRANSFORMERS, gpus=torch.cuda.is_available())
        wanted = checked_arguments(engine, EngineType.TRANSFORMERS).get("max_num_seqs")
        self._variants = [fetch(model) for model in models]
        self._dtype, local = engine.dtype, self._variants[0]
        self._variant: int | None = 0
        self._model = self._load(0)
        limit = _max_model_len(self._model, local.uri, engine.max_model_len)
        self._prompting = Prompting(load_tokenizer(local), limit)
        self._end_ids = _end_ids(self._model, self._prompting.tokenizer)
        self._wanted, self._limit = wanted, limit
        self._slots = self._find_slots()
        self.info = EngineInfo(
            engine=EngineType.TRANSFORMERS.value,
            version=transformers.__version__,
            model=local.uri,
            digest=local.digest,
            device=str(self._model.device),
            max_model_len=limit,
            max_sequences=self._slots.count if self._slots else 1,
            exact=True,
        )
        self._incoming: queue.SimpleQueue[Job | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="transformers-engine", daemon=True)
        self._thread.start()

    async def generate(self, request: Request, sampling: api.Sampling) -> Completion:
        """Draw all samples of the request."""
        future: Future[Completion] = Future()
        self._incoming.put(Job(request, sampling, future))
        return await asyncio.wrap_future(future)

    async def option_logprobs(self, messages: Messages, options: Sequence[str]) -> list[float]:
        """log p(option | chat prompt) in nats, one option at a time behind the prompt, so that nothing else matters.

        A prompt that cannot be run raises UserError.
        """
        future: Future[list[float]] = Future()
        self._incoming.put(lambda: _answer(future, lambda: self._option_logprobs(messages, options)))
        return await asyncio.wrap_future(future)

    async def renew(self, models: Sequence[api.ModelRef]) -> None:
        """Load the first of other models; the others when they are asked for."""
        future: Future[None] = Future()
        self._incoming.put(lambda: _answer(future, lambda: self._renew(models)))
        await asyncio.wrap_future(future)

    async def close(self) -> None:
        """End the thread; what is in flight is cancelled."""
        self._incoming.put(None)
        await asyncio.to_thread(self._thread.join)

    def _load(self, variant: int) -> Any:
        model = load_causal_lm(self._variants[variant], self._dtype)
        return model.to("cuda" if torch.cuda.is_available() else "cpu")

    def _switch(self, variant: int) -> None:
        if variant != self._variant:
            self._model = self._slots = self._variant = None  # two do not fit where one does
            self._model = self._load(variant)
            self._slots = self._find_slots()
            self._variant = variant

    def _renew(self, models: Sequence[api.ModelRef]) -> None:
        before, self._variants = self._variants, [fetch(model) for model in models]
        self._variant = None
        self._switch(0)
        forget_copies(before, self._variants)

    def _all_free(self) -> list[int]:
        return list(range(self._slots.count if self._slots else 0))[::-1]

    def _find_slots(self) -> Slots | None:
        if not suits(self._model, self._limit):
            return None
        config = self._model.config.get_text_config(decoder=True)
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        token_bytes = 2 * config.num_hidden_layers * heads * width * self._model.dtype.itemsize
        fitting = CACHE_BYTES // (USUAL_TOKENS * token_bytes)
        count = self._wanted or min(MAX_SLOTS, max(8, 1 << (max(1, fitting).bit_length() - 1)))
        longest = min(self._limit, max(USUAL_TOKENS, CACHE_BYTES // (count * token_bytes)))
        slots = Slots(self._model, count, longest)
        with torch.inference_mode():
            if slots.independent():
                return slots
        self._model.set_attn_implementation("sdpa")
        return None

    def _serve(self) -> None:
        """The thread that computes: takes in what arrives, lets waiting samples into free slots, and makes a step."""
        waiting: deque[Job] = deque()
        later: deque[Job] = deque()  # for another variant than the one at work
        rows: dict[int, Row] = {}
        free = self._all_free()
        with torch.inference_mode():
            while True:
                busy = bool(waiting or rows)
                try:
                    item = later.popleft() if later and not busy else self._incoming.get(block=not busy)
                except queue.Empty:
                    pass
                else:
                    if item is None:
                        break
                    if callable(item):
                        item()
                    elif busy and item.request.variant != self._variant:
                        later.append(item)
                    elif self._accept(item):
                        if not busy:  # it may have brought other slots
                            free = self._all_free()
                        waiting.append(item)
                    continue
                try:
                    for place in [place for place, row in rows.items() if row.job.future.cancelled()]:
                        del rows[place]
                        free.append(place)
                    self._admit(waiting, rows, free)
                    self._step(rows, free)
                except Exception as error:
                    for job in {row.job for row in rows.values()} | set(waiting):
                        _settle(job.future, error=error)
                    rows, free = {}, self._all_free()
                    waiting.clear()
        for job in {row.job for row in rows.values()} | set(waiting) | set(later):
            job.future.cancel()

    def _accept(self, job: Job) -> bool:
        """Tokenize; True when the job now waits for slots, False when it is answered already."""
        try:
            self._switch(job.request.variant)
            job.ids = self._prompting.encode(job.request.messages)
        except PromptRefused as error:
            _settle(job.future, Completion(job.request.id, error.tokens, (), str(error)))
            return False
        except Exception as error:
            _settle(job.future, error=error)
            return False
        job.room = min(job.sampling.max_tokens, self._prompting.max_model_len - len(job.ids))
        if self._slots is not None and len(job.ids) + job.room <= self._slots.longest:
            return True
        _answer(job.future, lambda: self._alone(job))
        return False

    def _admit(self, waiting: deque[Job], rows: dict[int, Row], free: list[int]) -> None:
        """Let waiting samples into free slots. The first token comes from the logits of the prompt itself."""
        assert self._slots is not None or not waiting
        for _ in range(PROMPTS_READ_AHEAD):
            while waiting and waiting[0].future.cancelled():
                waiting.popleft()
            if not waiting or not free or self._slots is None:
                return
            job = waiting[0]
            if job.prefix is None:
                job.prefix, job.logits = self._slots.prefill(job.ids)
            places = []
            for _ in range(min(len(free), job.draws - job.started)):
                row = job.row(self._end_ids, self._prompting)
                if not self._advance(row, draw(job.logits[None], job.sampling, [row.uniforms.next()])[0]):
                    places.append(free.pop())
                    rows[places[-1]] = row
            if places:
                self._slots.admit(places, job.prefix, len(job.ids))
            if job.started == job.draws:
                job.prefix = job.logits = None
                waiting.popleft()

    def _step(self, rows: dict[int, Row], free: list[int]) -> None:
        """One token for every slot."""
        if not rows or self._slots is None:
            return
        tokens = {place: row.tokens[-1] for place, row in rows.items()}
        logits = self._slots.step(tokens, {place: row.position for place, row in rows.items()})
        for sampling in {id(row.job.sampling): row.job.sampling for row in rows.values()}.values():
            places = sorted(place for place, row in rows.items() if row.job.sampling is sampling)
            drawn = draw(logits[places], sampling, [rows[place].uniforms.next() for place in places])
            for place, token in zip(places, drawn, strict=True):
                if self._advance(rows[place], token):
                    del rows[place]
                    free.append(place)

    def _advance(self, row: Row, token: int) -> bool:
        """Give a row its next token; True when it has ended."""
        sample = row.take(token)
        if sample is None:
            return False
        if row.job.add(row.index, sample):
            _settle(row.job.future, row.job.completion())
        return True

    def _alone(self, job: Job) -> Completion:
        """All samples of one prompt in one batch of their own, of the same size to the end."""
        rows = [job.row(self._end_ids, self._prompting) for _ in range(job.draws)]
        cache, logits = prefill(self._model, job.ids, copies=len(rows))
        logits = logits.reshape(len(rows), -1)
        ended: set[int] = set()
        while True:
            drawn = draw(logits, job.sampling, [row.uniforms.next() for row in rows])
            for row, token in zip(rows, drawn, strict=True):
                if row.index not in ended and (sample := row.take(token)) is not None:
                    job.add(row.index, sample)
                    ended.add(row.index)
            if len(ended) == len(rows) or job.future.cancelled():
                return job.completion() if len(ended) == len(rows) else Completion(job.request.id, 0, (), "cancelled")
            last = torch.tensor([[token] for token in drawn], device=self._model.device)
            logits = self._model(last, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]

    def _option_logprobs(self, messages: Messages, options: Sequence[str]) -> list[float]:
        self._switch(0)
        try:
            prompt, tails = self._prompting.options(messages, options)
        except PromptRefused as error:
            raise UserError("option_logprobs", str(error)) from error
        found = []
        for tail in tails:
            ids = torch.tensor([prompt + tail[:-1]], device=self._model.device)
            logits = self._model(ids, use_cache=False, logits_to_keep=len(tail)).logits[0]
            scores = logits.float().log_softmax(-1)
            picked = scores[torch.arange(len(tail)), torch.tensor(tail, device=scores.device)]
            found.append(float(picked.double().sum()))
        return found


def _max_model_len(model: Any, uri: str, wanted: int | None) -> int:
    own = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    if wanted is not None and own is not None and wanted > own:
        raise UserError("engine.maxModelLen", f"{wanted} is more than the {own} tokens that {uri} was made for")
    found = wanted or own
    if found is None:
        raise UserError("engine.maxModelLen", f"{uri} does not say how long a text it takes", "set it")
    return int(found)


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer: the generation config's, the config's and the tokenizer's, as vLLM takes them."""
    found: set[int] = set()
    generation = getattr(model, "generation_config", None)
    for each in (getattr(generation, "eos_token_id", None), model.config.eos_token_id, tokenizer.eos_token_id):
        found |= {each} if isinstance(each, int) else set(each or [])
    return frozenset(found)


def _answer(future: "Future[Any]", compute: Callable[[], Any]) -> None:
    try:
        _settle(future, compute())
    except Exception as error:
        _settle(future, error=error)


def _settle(future: "Future[Any]", result: Any = None, error: Exception | None = None) -> None:
    try:
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
    except InvalidStateError:
        pass  # cancelled meanwhile
