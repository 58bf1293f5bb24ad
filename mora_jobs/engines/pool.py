"""Engine replicas as Ray actors that are never idle and may die.

with EnginePool(model, engine, sampling, replicas=2) as pool:
    for completion in pool.generate(requests):
        ...

Requests stream: as many are in flight as the engines need to be always full, never a chunk with a barrier at its end, and
nothing is kept once it has been yielded, so memory does not depend on the number of prompts.
"""

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from mora_jobs import api
from mora_jobs.engines.arguments import check_settings
from mora_jobs.engines.base import Completion, EngineInfo, Messages, Request
from mora_jobs.engines.choice import choose, environment
from mora_jobs.engines.cluster import connect, total
from mora_jobs.engines.endpoint import EndpointReplica
from mora_jobs.engines.host import Question, Result
from mora_jobs.engines.placement import place
from mora_jobs.engines.replica import Replica, ready
from mora_jobs.engines.window import Weighed


class SyncTimeout(Exception):
    """Engines did not take other weights in time: not a mistake in the manifest, as far as we know."""


DEPTH = 2.0  # samples in flight, in units of what the engine draws at once: one half runs, the other half waits
_log = logging.getLogger(__name__)


class EnginePool:
    """Engines for one model, or for several that differ in their adapters only; a context manager that holds them.

    `replicas` actors with the model (and its `variants`: Request.variant 1, 2, …), or, for a model behind a server, its
    connections (then Ray is not needed). `credentials` are the job's, for the server's key. Entering waits until the first replica has loaded the model; the
    others join when they are ready. A replica that dies is started again and gets its requests again (a sample depends on
    its seed, not on who draws it). Raises UserError for the user's mistakes, EngineDied when replicas die without getting
    anything done, EndpointUnavailable when a server stays away.
    """

    def __init__(
        self,
        model: api.ModelRef | api.OpenAICompatible,
        engine: api.Engine,
        sampling: api.Sampling,
        replicas: int = 1,
        env: Mapping[str, str] | None = None,
        credentials: Sequence[api.Credential] = (),
        variants: Sequence[api.ModelRef] = (),
    ) -> None:
        self._model, self._engine, self._sampling = model, engine, sampling
        self._variants = tuple(variants)
        self._count = replicas
        self._env = dict(env or {})
        self._credentials = credentials
        self._replicas: list[Replica] | list[EndpointReplica] = []
        self._info: EngineInfo | None = None
        self._busy = False

    def __enter__(self) -> Self:
        if isinstance(self._model, api.OpenAICompatible):
            self._replicas = [EndpointReplica(self._model, self._sampling, self._credentials)]
            self._info = self._replicas[0].info
            return self
        connect()
        gpus = total("GPU") > 0
        choice = choose(self._engine.type, gpus)
        check_settings(self._engine, choice.type, gpus=gpus)
        if choice.reason:
            _log.warning("engine.type %s: %s", self._engine.type.value, choice.reason)
        placement = place(self._engine, gpus, total("CPU"), self._count)
        env = environment(choice, placement.threads) | self._env
        arguments = ((self._model, *self._variants), self._engine, self._sampling, choice)
        self._replicas = [Replica(arguments, placement, env) for _ in range(self._count)]
        try:
            while not any(each.info for each in self._replicas):
                for replica in ready(self._replicas):
                    replica.receive()
        except BaseException:
            self._close(gently=False)
            raise
        self._info = info = next(each.info for each in self._replicas if each.info is not None)
        _log.info("%s %s on %s: %s", info.engine, info.version, info.device, info.model)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(gently=kind is None)

    @property
    def info(self) -> EngineInfo:
        """What runs, as the first replica that was ready said."""
        assert self._info is not None, "the pool has not been entered"
        return self._info

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions as they finish, in any order; `requests` is read as fast as the engines take it.

        Closing the iterator early stops what is in flight.
        """
        # A server counts requests, an engine of ours the samples that it draws at the same time.
        counted = isinstance(self._model, api.OpenAICompatible)
        for _, result in self._run((request, 1 if counted else request.n) for request in requests):
            assert isinstance(result, Completion)
            yield result

    def renew(self, model: api.ModelRef, timeout: float) -> None:
        """Let `model`, which differs from the one before in its adapters only, answer from now on, on all replicas.

        Raises SyncTimeout when a replica has not loaded it after `timeout` seconds, UserError when it cannot be loaded.
        """
        if self._busy:
            raise RuntimeError(
                "weights are replaced between two calls: finish or close the iterator of the call before"
            )
        replicas = [each for each in self._replicas if isinstance(each, Replica)]
        end = time.monotonic() + timeout
        for replica in replicas:
            replica.renew((model, *self._variants))
        while late := [each for each in replicas if each.info is None]:
            left = end - time.monotonic()
            if left <= 0:
                whose = f"{len(late)} of {len(replicas)} engines"
                raise SyncTimeout(f"{whose} had not taken over the weights of the step after {timeout:g} s")
            for replica in ready(late, left):
                replica.receive()
        self._model = model

    def option_logprobs(self, prompts: Sequence[Messages], options: Sequence[str]) -> list[list[float] | None]:
        """For each prompt log p(option | prompt) of all options, in nats; None where the engine cannot tell."""
        questions = [Question(tuple(dict(each) for each in prompt), tuple(options)) for prompt in prompts]
        found: list[list[float] | None] = [None] * len(questions)
        for position, result in self._run((question, 1) for question in questions):
            assert result is None or isinstance(result, list)
            found[position] = result
        return found

    def _run(self, items: Iterable[tuple[Request | Question, int]]) -> Iterator[tuple[int, Any]]:
        """Results with the positions of their items. An item comes with its weight: the samples it draws."""
        if self._busy:
            raise RuntimeError("one call of a pool at a time: finish or close the iterator of the call before")
        self._busy = True
        todo = (((position, item), weight) for position, (item, weight) in enumerate(items))
        again: deque[Weighed] = deque()  # what dead engines held goes first
        results: list[Result] = []
        try:
            while True:
                for replica in self._replicas:
                    if replica.idle:
                        replica.send(_fill(replica, again, todo))
                yield from results  # the engines work while the caller does
                if (
                    not again
                    and not any(each.load for each in self._replicas)
                    and any(each.idle for each in self._replicas)
                ):
                    return  # an engine is ready, and nothing was left for it
                results = []
                for replica in ready(self._replicas):
                    finished, orphans = replica.receive()
                    results += finished
                    again += orphans
        finally:
            for replica in self._replicas:
                replica.forget()
            self._busy = False

    def _close(self, gently: bool) -> None:
        for replica in self._replicas:
            replica.close(gently)
        self._replicas = []


def _fill(replica: Replica | EndpointReplica, again: deque[Weighed], todo: Iterator[Weighed]) -> list[Weighed]:
    """The work that `replica` takes now: up to a queue of DEPTH times what it draws at once."""
    assert replica.info is not None
    load, limit = replica.load, DEPTH * replica.info.max_sequences
    batch: list[Weighed] = []
    while load < limit:
        item = again.popleft() if again else next(todo, None)
        if item is None:
            break
        batch.append(item)
        load += item[1]
    return batch
