"""Http rewards: a server that rates, POST {items: [{id, prompt, response, fields}]} → {scores: [number | null]}."""

import email.utils
import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from mora_jobs import api
from mora_jobs.errors import UserError
from mora_jobs.rewards.base import Item, checked

log = logging.getLogger(__name__)
FIRST_DELAY = 0.5  # seconds; doubled with each retry
LONGEST_DELAY = 60.0
LONGEST_WAIT = 600.0  # what a Retry-After may ask for


class RewardServerError(ConnectionError):
    """The server did not answer properly, retries included: a matter of the server, not of the manifest."""


class HttpReward:
    """A reward behind a URL. 429, 5xx and broken or slow connections are retried with back-off; 4xx are not.

    `bearer` is sent as `Authorization: Bearer …` and never shown. Thread-safe: connections are pooled.
    """

    def __init__(
        self, name: str, spec: api.HttpReward, bearer: str | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.name = name
        self.where = f"reward {name!r} ({spec.url})"
        self._spec = spec
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        self._client = httpx.Client(timeout=spec.timeout_seconds, headers=headers, follow_redirects=True)

    def score(self, items: Sequence[Item]) -> list[float | None]:
        """Raises UserError when the server refuses or answers something else, RewardServerError when it stays away."""
        scores: list[float | None] = []
        for start in range(0, len(items), self._spec.batch_size):
            batch = items[start : start + self._spec.batch_size]
            scores += checked(self.where, self._rate(batch), batch)
        return scores

    def close(self) -> None:
        self._client.close()

    def _rate(self, batch: Sequence[Item]) -> Any:
        body = {
            "items": [
                {"id": item.id, "prompt": item.prompt, "response": item.response, "fields": _without_nan(item.fields)}
                for item in batch
            ]
        }
        response = self._post(body)
        try:
            answer = response.json()
        except ValueError:
            raise UserError(self.where, f"answered no JSON: {response.text!r:.120}") from None
        if not isinstance(answer, dict) or "scores" not in answer:
            raise UserError(
                self.where, f"answered {response.text!r:.120}", 'the answer is {"scores": [number | null]}'
            )
        return answer["scores"]

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        problem = ""
        for attempt in range(self._spec.max_retries + 1):
            wait: float | None = None
            try:
                response = self._client.post(self._spec.url, json=body)
            except httpx.TransportError as error:  # timeouts, refused and broken connections
                problem = f"{type(error).__name__}: {error}".rstrip(": ")
            except httpx.TooManyRedirects:
                raise UserError(self.where, "redirects for ever") from None
            else:
                if response.is_success:
                    return response
                problem = f"answered {response.status_code}: {response.text!r:.200}"
                if response.status_code not in (408, 425, 429) and response.status_code < 500:
                    raise UserError(self.where, problem)
                wait = _retry_after(response)
            if attempt < self._spec.max_retries:
                delay = wait if wait is not None else _back_off(attempt)
                log.warning("%s: %s; retry %d in %.1f s", self.where, problem, attempt + 1, delay)
                self._sleep(delay)
        raise RewardServerError(f"{self.where}: {problem} (after {self._spec.max_retries} retries)")


def _without_nan(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A missing number of a Parquet column is NaN, which JSON does not have."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in fields.items()}


def _back_off(attempt: int) -> float:
    """Exponential with full jitter, so that many workers do not come back together."""
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
