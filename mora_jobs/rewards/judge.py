"""Judge rewards: a language model rates a response by a rubric; the score is the expected level.

score = Σ level · p(level) / Σ p(level) over the probabilities of the levels' labels (as G-Eval, arXiv 2303.16634): finer
than the one level that the judge would write, and without sampling noise. Where the model gives no probabilities it is
the level that it writes; an answer from which no level can be read has no score.
"""

import logging
import math
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Protocol

import numpy as np

from mora_jobs import api
from mora_jobs.engines.base import Completion, Messages, Request
from mora_jobs.engines.pool import EnginePool
from mora_jobs.rewards.base import Item

log = logging.getLogger(__name__)
GREEDY = api.Sampling(samples_per_prompt=1, temperature=0.0, max_tokens=32, seed=0)
PROMPT = """You rate an assistant's answer to a user by this rubric.

# Rubric
{rubric}

# User
{prompt}

# Answer
{response}

# Your rating
Do not answer the user. Reply with one of these and nothing else: {labels}.{meaning}"""


class Judge(Protocol):
    """The part of an EnginePool that a judge needs."""

    def option_logprobs(self, prompts: Sequence[Messages], options: Sequence[str]) -> list[list[float] | None]: ...

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]: ...


class JudgeReward:
    """Rates items by `spec.rubric` on `spec.levels`."""

    def __init__(
        self, name: str, spec: api.JudgeReward, credentials: Sequence[api.Credential] = (), judge: Judge | None = None
    ) -> None:
        self.name = name
        self._spec = spec
        self._labels = labels(spec.levels)
        self._held = ExitStack()
        self._judge = judge or self._held.enter_context(_pool(spec, credentials))

    def score(self, items: Sequence[Item]) -> list[float | None]:
        prompts = [self.prompt(item) for item in items]
        told = self._judge.option_logprobs(prompts, self._labels) if prompts else []
        scores = [None if each is None else expectation(self._spec.levels, each) for each in told]
        silent = [Request(str(i), tuple(prompts[i]), 1, 0) for i, each in enumerate(told) if each is None]
        for answer in self._judge.generate(silent) if silent else ():
            if answer.samples:
                scores[int(answer.id)] = self._parse(answer.samples[0].text)
        unread = sum(score is None for score in scores)
        if unread:
            log.warning("reward %r: no level could be read for %d of %d responses", self.name, unread, len(items))
        return scores

    def prompt(self, item: Item) -> list[dict[str, str]]:
        """What the judge is asked about one item."""
        pairs = zip(self._labels, self._spec.levels, strict=True)
        meaning = "" if self._labels[0] != "A" else f" ({', '.join(f'{a} means {b}' for a, b in pairs)})"
        text = PROMPT.format(
            rubric=self._spec.rubric,
            prompt=item.prompt,
            response=item.response,
            labels=", ".join(self._labels),
            meaning=meaning,
        )
        return [{"role": "user", "content": text}]

    def close(self) -> None:
        self._held.close()

    def _parse(self, answer: str) -> float | None:
        label = parse(answer, self._labels)
        return None if label is None else float(self._spec.levels[self._labels.index(label)])


def labels(levels: Sequence[int]) -> list[str]:
    """What the judge writes for each level: the number, or a letter where one number begins another.

    p("1") would contain p("10"), so a scale of 1 … 10 is asked for as A … J.
    """
    numbers = [str(level) for level in levels]
    begins = any(a != b and b.startswith(a) for a in numbers for b in numbers)
    return list(string.ascii_uppercase[: len(numbers)]) if begins else numbers


def expectation(levels: Sequence[int], logprobs: Sequence[float]) -> float | None:
    """Σ level · p / Σ p; None when no level has any probability."""
    log_p = np.asarray(logprobs, dtype=np.float64)
    if np.isnan(log_p).any() or not math.isfinite(log_p.max()):
        return None
    p = np.exp(log_p - log_p.max())
    return float(p @ np.asarray(levels, dtype=np.float64) / p.sum())


def parse(answer: str, options: Sequence[str]) -> str | None:
    """The one option that an answer names: "4", "Rating: 4.", "4/5", "4 out of 5"; None when it names none or several."""
    text = re.sub(r"(\d+)\s*(?:/|out of)\s*\d+", r"\1", answer)
    named = {option for option in options if re.search(rf"(?<![\w.-]){re.escape(option)}(?![\w-]|\.\d)", text)}
    return named.pop() if len(named) == 1 else None


def _pool(spec: api.JudgeReward, credentials: Sequence[api.Credential]) -> EnginePool:
    """The model on engines of this job, or the server, that `spec` names. Raises UserError when it is entered."""
    model = spec.model or spec.open_ai_compatible
    assert model is not None, "exactly one of the two: checked by validation"
    return EnginePool(model, spec.engine, GREEDY, credentials=credentials)
