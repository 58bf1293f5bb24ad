"""A request while it is drawn, and its samples one by one."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from mora_jobs import api
from mora_jobs.engines.base import Completion, Request, Sample
from mora_jobs.engines.draw import Uniforms
from mora_jobs.engines.prompting import Prompting


@dataclass(eq=False)
class Job:
    """A request under way. `room` is how many tokens a sample may have; greedy samples are all alike, so one is drawn."""

    request: Request
    sampling: api.Sampling
    future: "Future[Completion]"
    ids: list[int] = field(default_factory=list)
    room: int = 0
    started: int = 0
    samples: dict[int, Sample] = field(default_factory=dict)
    prefix: Any = None
    logits: Any = None

    @property
    def draws(self) -> int:
        """How many samples have to be drawn."""
        return 1 if self.sampling.temperature == 0 else self.request.n

    def row(self, end_ids: frozenset[int], prompting: Prompting) -> "Row":
        """Start the next sample."""
        self.started += 1
        return Row(self, self.started - 1, end_ids, prompting)

    def add(self, index: int, sample: Sample) -> bool:
        """Keep a sample that has ended; True when it was the last one."""
        self.samples[index] = sample
        return len(self.samples) == self.draws

    def completion(self) -> Completion:
        """All samples, in the order of their streams."""
        count = self.request.n
        samples = [self.samples[index if self.draws == count else 0] for index in range(count)]
        return Completion(self.request.id, len(self.ids), tuple(samples))


class Row:
    """One sample being drawn: its tokens so far and its own random numbers."""

    def __init__(self, job: Job, index: int, end_ids: frozenset[int], prompting: Prompting) -> None:
        self.job = job
        self.index = index
        self.tokens: list[int] = []
        self.uniforms = Uniforms(job.request.seed, index)
        self._end_ids = end_ids
        self._prompting = prompting

    @property
    def position(self) -> int:
        """Where the last token stands, counted over prompt and answer."""
        return len(self.job.ids) + len(self.tokens) - 1

    def take(self, token: int) -> Sample | None:
        """Append a token; the sample when that ends it."""
        self.tokens.append(token)
        if token in self._end_ids:
            return self._sample(self._prompting.decode(self.tokens[:-1]), "Stop")
        if self.job.sampling.stop and (text := self._stopped()) is not None:
            return self._sample(text, "Stop")
        if len(self.tokens) >= self.job.room:
            return self._sample(self._prompting.decode(self.tokens), "Length")
        return None

    def _sample(self, text: str, finish: str) -> Sample:
        return Sample(text, len(self.tokens), finish, tuple(self.tokens))

    def _stopped(self) -> str | None:
        """The text before the first stop text, when there is one by now."""
        stops = self.job.sampling.stop
        # Only the end is new: a token is at least one byte, and a letter may be cut in front.
        window = max(len(stop.encode()) for stop in stops) + 4
        tail = self._prompting.decode(self.tokens[-window:])
        if not any(stop in tail for stop in stops):
            return None
        text = self._prompting.decode(self.tokens)
        found = [at for stop in stops if (at := text.find(stop)) >= 0]
        return text[: min(found)] if found else None
