"""Generation by a server that speaks the OpenAI chat completions API: a hosted model, `vllm serve`, SGLang, llama.cpp."""

import asyncio
import email.utils
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import httpx

from mora_jobs import api
from mora_jobs.api import credentials as credential_values
from mora_jobs.engines.base import Completion, EngineInfo, Messages, Request, Sample
from mora_jobs.errors import UserError

RETRIES = 8
FIRST_DELAY = 0.5  # seconds; doubled with each retry
LONGEST_DELAY = 60.0
LONGEST_WAIT = 600.0  # what a Retry-After may ask for
MOST_CHOICES = 128  # of one request, as OpenAI has it
TOP_LOGPROBS = (20, 5)  # what servers give at most; tried in this order
REFUSALS = 8  # so many prompts in a row refused and none answered: it is not the prompts
_log = logging.getLogger(__name__)


class EndpointUnavailable(ConnectionError):
    """The server did not answer, retries included: a matter of the server, not of the manifest."""


class _Refused(Exception):
    """400, 413 or 422: the server does not take this request."""


class OpenAIEngine:
    """An engine behind a URL. 429, 5xx and broken or slow connections are retried with back-off, honouring Retry-After.

    The key of `spec.credentialsRef` is sent as a bearer token and never shown. Raises UserError when it is not there, when
    the server refuses it, or does not know the model. The server decides whether the seed is heeded.
    """

    def __init__(
        self,
        spec: api.OpenAICompatible,
        credentials: Iterable[api.Credential] = (),
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        url = httpx.URL(spec.base_url.rstrip("/") + "/chat/completions")
        self.where = f"{url.copy_with(userinfo=b'', query=None)} ({spec.model})"
        key = _key(spec, credentials)
        self._spec = spec
        self._url = url
        self._sleep = sleep
        self._gate = asyncio.Semaphore(spec.max_concurrency)
        self._client = httpx.AsyncClient(
            timeout=spec.timeout_seconds,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx.Limits(max_connections=spec.max_concurrency),
            transport=transport,
        )
        self._length_field = "max_tokens"
        self._top = list(TOP_LOGPROBS)
        self._answered = False
        self._refusals = 0
        self.info = EngineInfo(
            engine="OpenAICompatible",
            version="",
            model=spec.model,
            digest=None,
            device=str(url.host),
            max_model_len=None,
            max_sequences=spec.max_concurrency,
            exact=False,
        )

    async def generate(self, request: Request, sampling: api.Sampling) -> Completion:
        """Draw all samples. Samples of servers that give one choice whatever n says are asked for one by one."""
        samples: list[Sample] = []
        prompt_tokens = 0
        try:
            while len(samples) < request.n:
                asked = min(request.n - len(samples), MOST_CHOICES)
                seed = request.seed + len(samples)
                more, prompt_tokens = await self._choices(request.messages, sampling, asked, seed)
                samples += more[:asked]
                if len(more) < asked:
                    rest = range(len(samples), request.n)
                    single = [self._choices(request.messages, sampling, 1, request.seed + i) for i in rest]
                    samples += [each[0][0] for each in await asyncio.gather(*single)]
        except _Refused as error:
            return Completion(request.id, prompt_tokens, (), f"the server refuses the prompt: {error}")
        return Completion(request.id, prompt_tokens, tuple(samples))

    async def option_logprobs(self, messages: Messages, options: Sequence[str]) -> list[float] | None:
        """log p that the answer's first token is the option (spaces aside), in nats; −inf below the server's top tokens.

        None when the server gives no log-probabilities, when none of the options is among its top tokens, or when one
        could only be read off several tokens.
        """
        body = {"messages": [dict(each) for each in messages], "temperature": 1.0, "logprobs": True}
        while self._top:
            try:
                answer = await self._post({**body, self._length_field: 1, "top_logprobs": self._top[0]})
            except _Refused as error:
                if not self._adapt(str(error)):
                    self._top = self._top[1:]
                continue
            content = (answer["choices"][0].get("logprobs") or {}).get("content") or []
            if not content or not content[0].get("top_logprobs"):
                return None
            return _read(content[0]["top_logprobs"], [option.strip() for option in options])
        return None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _choices(
        self, messages: Messages, sampling: api.Sampling, n: int, seed: int
    ) -> tuple[list[Sample], int]:
        body: dict[str, Any] = {
            "messages": [dict(each) for each in messages],
            "n": n,
            "temperature": sampling.temperature,
            "seed": seed,
        }
        if sampling.top_p < 1:
            body["top_p"] = sampling.top_p
        if sampling.top_k > 0:
            body["top_k"] = sampling.top_k  # not OpenAI's own, but vLLM, SGLang and llama.cpp take it
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        while True:
            try:
                answer = await self._post({**body, self._length_field: sampling.max_tokens})
                break
            except _Refused as error:
                if not self._adapt(str(error)):
                    raise
        usage = answer.get("usage") or {}
        return _samples(answer["choices"], usage.get("completion_tokens") or 0), int(usage.get("prompt_tokens") or 0)

    def _adapt(self, refusal: str) -> bool:
        """OpenAI's newer models want the length under another name; True when that was what the server meant."""
        if self._length_field == "max_tokens" and "max_completion_tokens" in refusal:
            self._length_field = "max_completion_tokens"
            return True
        return False

    async def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        """One answer with at least one choice. Raises _Refused, UserError, EndpointUnavailable."""
        problem = ""
        for attempt in range(RETRIES + 1):
            wait: float | None = None
            async with self._gate:
                try:
                    response = await self._client.post(self._url, json={"model": self._spec.model, **body})
                except httpx.TransportError as error:
                    problem = f"{type(error).__name__}: {error}".rstrip(": ")
                else:
                    if response.status_code not in (408, 425, 429) and response.status_code < 500:
                        return self._checked(response)
                    problem = f"answered {response.status_code}: {_message(response)}"
                    wait = _retry_after(response)
            if attempt < RETRIES:
                delay = wait if wait is not None else _back_off(attempt)
                _log.warning("%s: %s; retry %d in %.1f s", self.where, problem, attempt + 1, delay)
                await self._sleep(delay)
        raise EndpointUnavailable(f"{self.where}: {problem} (after {RETRIES} retries)")

    def _checked(self, response: httpx.Response) -> dict[str, Any]:
        status, message = response.status_code, _message(response)
        if status in (401, 403):
            raise UserError(self.where, f"the server refuses the key ({status}: {message})", "check credentialsRef")
        if status in (400, 413, 422):
            self._refusals += 1
            if not self._answered and self._refusals >= REFUSALS:
                raise UserError(self.where, f"the server refuses every request ({status}: {message})")
            raise _Refused(message)
        if not response.is_success:
            todo = "baseURL goes up to and without /chat/completions; check the model's name"
            raise UserError(self.where, f"the server answered {status}: {message}", todo)
        try:
            answer: dict[str, Any] = response.json()
            answer["choices"][0]["message"]
        except (ValueError, KeyError, IndexError, TypeError):
            raise UserError(self.where, f"answered no chat completion: {response.text!r:.120}") from None
        self._answered = True
        return answer


def _key(spec: api.OpenAICompatible, credentials: Iterable[api.Credential]) -> str | None:
    if spec.credentials_ref is None:
        return None
    key = credential_values.read(credentials, spec.credentials_ref)
    if not key:
        todo = f"declare it in spec.credentials; with `mora run`, set {credential_values.local_variable(spec.credentials_ref)}"
        raise UserError(spec.base_url, f"the credential {spec.credentials_ref!r} is not there", todo)
    return key


def _samples(choices: list[dict[str, Any]], tokens: int) -> list[Sample]:
    """The choices as samples. Servers count the tokens of all choices together: they are shared out by length of text."""
    choices = sorted(choices, key=lambda each: each.get("index", 0))
    texts = [str(each["message"].get("content") or "") for each in choices]
    ends = ["Length" if each.get("finish_reason") == "length" else "Stop" for each in choices]
    letters = sum(map(len, texts))
    return [
        Sample(text, round(tokens * len(text) / letters) if letters else 0, end)
        for text, end in zip(texts, ends, strict=True)
    ]


def _read(top: list[dict[str, Any]], options: list[str]) -> list[float] | None:
    """The options' log-probabilities from the top tokens of one position; see `option_logprobs`."""
    mass: dict[str, float] = {}
    for each in top:
        token = str(each["token"]).strip()
        mass[token] = float(_log_sum(mass.get(token, -math.inf), float(each["logprob"])))
    found = [mass.get(option, -math.inf) for option in options]
    for option, logprob in zip(options, found, strict=True):
        if logprob == -math.inf and any(token and option.startswith(token) for token in mass):
            return None  # it may be written in several tokens
    return found if max(found) > -math.inf else None


def _log_sum(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def _message(response: httpx.Response) -> str:
    """What the server says is wrong, in one line."""
    try:
        error = response.json().get("error")
        text = error.get("message") if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        text = None
    return " ".join(str(text or response.text).split())[:300]


def _back_off(attempt: int) -> float:
    """Exponential with jitter, so that many requests do not come back together."""
    return random.uniform(0.5, 1.0) * min(LONGEST_DELAY, FIRST_DELAY * 2.0**attempt)


def _retry_after(response: httpx.Response) -> float | None:
    """Retry-After as seconds: a number or an HTTP date."""
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT)
