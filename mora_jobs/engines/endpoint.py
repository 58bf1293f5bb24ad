"""The driver's side of a server: an engine in this process, on an event loop of its own. It needs no Ray."""

import asyncio
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

from mora_jobs import api
from mora_jobs.engines.base import EngineInfo
from mora_jobs.engines.host import EngineHost, Result
from mora_jobs.engines.openai import EndpointUnavailable, OpenAIEngine
from mora_jobs.engines.window import Weighed, Window


class EndpointReplica:
    """Looks like a Replica to the pool. Raises UserError when the key is not there."""

    def __init__(
        self, spec: api.OpenAICompatible, sampling: api.Sampling, credentials: Iterable[api.Credential]
    ) -> None:
        engine = OpenAIEngine(spec, credentials)
        self._host = EngineHost.around(engine, sampling)
        self._where = engine.where
        self._window = Window()
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()
        self.info: EngineInfo | None = engine.info
        self.call: Future[list[Result]] | None = None

    @property
    def load(self) -> int:
        """Samples in flight."""
        return self._window.load

    @property
    def idle(self) -> bool:
        """With no call under way: work can be sent."""
        return self.call is None

    def send(self, batch: Sequence[Weighed]) -> None:
        """Give it work, if any, and ask for what finishes."""
        self._window.add(batch)
        if self.load:
            work = [each for each, _ in batch]
            self.call = asyncio.run_coroutine_threadsafe(self._host.exchange(self._turn, work), self._loop)

    def receive(self) -> tuple[list[Result], list[Weighed]]:
        """Wait for what finishes. Raises UserError, EndpointUnavailable."""
        assert self.call is not None
        call, self.call = self.call, None
        results, broken = self._window.settle(call.result())
        if broken:
            raise EndpointUnavailable(broken)  # it was retried already
        return results, []

    def forget(self) -> None:
        """Stop what is in flight."""
        self._window.clear()
        self.call, call = None, self.call
        self._turn += 1
        asyncio.run_coroutine_threadsafe(self._host.forget(self._turn), self._loop).result()
        if call is not None:
            call.result()

    def close(self, gently: bool) -> None:
        """Close the connections."""
        asyncio.run_coroutine_threadsafe(self._host.stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.info = None
