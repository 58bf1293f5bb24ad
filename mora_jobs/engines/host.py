"""The Ray actor around an engine: work comes in and results go out in batches, as many as have finished."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from mora_jobs import api
from mora_jobs.engines.base import Completion, Engine, EngineInfo, Renewable, Request
from mora_jobs.engines.choice import Choice, load_engine
from mora_jobs.errors import UserError


@dataclass(frozen=True)
class Question:
    """What p(option | messages) is, for each of the options."""

    messages: tuple[dict[str, str], ...]
    options: tuple[str, ...]


@dataclass(frozen=True)
class Broken:
    """The engine failed on something that is nobody's request's fault."""

    reason: str


Work = tuple[int, Request | Question]
Result = tuple[int, "Completion | list[float] | UserError | Broken | None"]


class EngineHost:
    """An asyncio actor. `exchange` takes new work and gives back what finished, waiting until there is something.

    So there is one call under way per replica, however many requests are in flight, and the faster the engine, the more
    of them share a call.
    """

    def __init__(
        self, models: Sequence[api.ModelRef], engine: api.Engine, sampling: api.Sampling, choice: Choice
    ) -> None:
        self._arguments = (models, engine, choice)
        self._prepare(sampling)

    @classmethod
    def around(cls, engine: Engine, sampling: api.Sampling) -> Self:
        """A host in this process, around an engine that is there already."""
        host = cls.__new__(cls)
        host._prepare(sampling)
        host._engine = engine
        return host

    def _prepare(self, sampling: api.Sampling) -> None:
        self._sampling = sampling
        self._engine: Engine | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished: list[Result] = []
        self._some = asyncio.Event()
        self._turn = 0  # calls of an asyncio actor may overtake each other: what belongs to an older turn is dropped

    async def start(self) -> EngineInfo | UserError | Broken:
        """Load the model. Errors come back as values: Ray would wrap an exception in a traceback of its own."""
        try:
            self._engine = await asyncio.to_thread(load_engine, *self._arguments)
        except UserError as error:
            return error
        except Exception as error:
            return Broken(_line(error))
        return self._engine.info

    async def renew(self, models: Sequence[api.ModelRef]) -> EngineInfo | UserError | Broken:
        """Answer from `models` from now on. Errors come back as values."""
        assert isinstance(self._engine, Renewable), "renew before start"
        try:
            await self._engine.renew(models)
        except UserError as error:
            return error
        except Exception as error:
            return Broken(_line(error))
        return self._engine.info

    async def exchange(self, turn: int, work: Sequence[Work]) -> list[Result]:
        """Take `work`, wait until anything has finished, and give back all that has, by the keys of the work."""
        if turn < self._turn:
            return []
        for key, item in work:
            task = asyncio.ensure_future(self._run(turn, key, item))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._tasks or self._finished:
            await self._some.wait()
        self._some.clear()
        finished, self._finished = self._finished, []
        return finished

    async def forget(self, turn: int) -> None:
        """Stop what is in flight and drop what has finished: all that is older than `turn`."""
        self._turn = turn
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._finished = []
        self._some.set()  # lets an exchange that waits go home

    async def stop(self) -> None:
        """Free the model."""
        await self.forget(self._turn + 1)
        if self._engine is not None:
            await self._engine.close()

    async def _run(self, turn: int, key: int, item: Request | Question) -> None:
        engine = self._engine
        assert engine is not None, "exchange before start"
        result: Completion | list[float] | UserError | Broken | None
        try:
            if isinstance(item, Request):
                result = await engine.generate(item, self._sampling)
            else:
                result = await engine.option_logprobs(item.messages, item.options)
        except UserError as error:
            result = error
        except Exception as error:
            result = Broken(_line(error))
        if turn == self._turn:
            self._finished.append((key, result))
            self._some.set()


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
