"""What every engine is: requests go in, completions come out, one per prompt with all of its samples."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mora_jobs import api

Messages = Sequence[Mapping[str, str]]
SEED_SPAN = 65_536  # an engine may add up to this many to a request's seed (vLLM gives sample i the seed + i)


@dataclass(frozen=True)
class Request:
    """One prompt: `n` samples of an answer to the chat `messages` ({role, content}), from the stream `seed`.

    `variant` is the index of the model that answers, among those that the engine was made for.
    """

    id: str
    messages: tuple[dict[str, str], ...]
    n: int
    seed: int
    variant: int = 0


@dataclass(frozen=True)
class Sample:
    """One sampled answer: its text, its length in tokens (an end token counts), and why it ended: "Stop" or "Length"."""

    text: str
    tokens: int
    finish: str
    ids: tuple[int, ...] = ()
    """The tokens that were drawn, an end token among them; () where a server does not tell."""


@dataclass(frozen=True)
class Completion:
    """All samples of one request. With `error` (one line for the user) there are none, and the prompt has failed."""

    id: str
    prompt_tokens: int
    samples: tuple[Sample, ...]
    error: str | None = None


@dataclass(frozen=True)
class EngineInfo:
    """What runs: for logs, for the job's record, and for how much work to keep in flight."""

    engine: str  # "VLLM" | "Transformers" | "OpenAICompatible"
    version: str
    model: str
    digest: str | None
    device: str
    max_model_len: int | None
    max_sequences: int  # samples that it draws at the same time
    exact: bool  # whether a sample depends on its prompt, its seed and its index alone, bit by bit


class Engine(Protocol):
    """A model that generates. All methods may be awaited concurrently; the engine batches as it can."""

    info: EngineInfo

    async def generate(self, request: Request, sampling: api.Sampling) -> Completion:
        """Draw `request.n` samples. What is wrong with the prompt alone comes back as `Completion.error`."""
        ...

    async def option_logprobs(self, messages: Messages, options: Sequence[str]) -> list[float] | None:
        """log p(option | chat prompt) in nats, summed over the option's tokens; None where the engine cannot tell."""
        ...

    async def close(self) -> None:
        """Free the model."""
        ...


@runtime_checkable
class Renewable(Engine, Protocol):
    """An engine whose model can be replaced while it runs."""

    async def renew(self, models: Sequence[api.ModelRef]) -> None:
        """Answer from `models` from now on. They differ from those before in their adapters only, and nothing is in flight."""
        ...


def request_seed(base_seed: int, prompt_id: str) -> int:
    """The seed of a prompt: 0 … 2**31 − 1 − SEED_SPAN, a hash of the job's seed and the prompt's id.

    Neighbouring seeds share random streams where an engine gives sample i the seed + i, so prompts must not be
    numbered; with a hash two of 100,000 prompts lie within 16 of each other about as often as chance says.
    """
    digest = hashlib.sha256(f"{base_seed}\n{prompt_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % (2**31 - SEED_SPAN)
