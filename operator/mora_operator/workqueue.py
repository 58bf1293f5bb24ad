"""A deduplicating work queue with the rules of client-go's: what turns watch events into level-triggered work.

A key is handed to one worker at a time. A key added while it is being processed is handed out once more afterwards;
a key added several times while it waits is handed out once. Delayed adds keep the earliest time. Failures are counted
per key, so that a key which fails again and again comes back ever more slowly.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class ShutDown(Exception):
    """The queue was closed and is empty."""


class WorkQueue(Generic[Key]):
    """Keys to be processed, each at most once at a time.

    `base_delay` doubles with each failure of a key up to `max_delay` (seconds), with up to `jitter` (a share) on top so
    that keys which failed together do not come back together. `random_share` gives numbers in [0, 1).
    """

    def __init__(
        self,
        base_delay: float = 1.0,
        max_delay: float = 60.0,
        jitter: float = 0.1,
        random_share: Callable[[], float] = random.random,
    ) -> None:
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._jitter = jitter
        self._random_share = random_share
        self._ready: deque[Key] = deque()
        self._dirty: dict[Key, float] = {}  # key → loop time of its first add; what has to be processed
        self._processing: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, tuple[int, float]] = {}  # how many in a row, and the loop time until which to wait
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        """Keys that wait for a worker, delayed ones not counted."""
        return len(self._ready)

    def oldest_wait(self) -> float:
        """Seconds that the longest-waiting key has waited; 0 for an empty queue."""
        if not self._ready:
            return 0.0
        return asyncio.get_running_loop().time() - self._dirty[self._ready[0]]

    def add(self, key: Key) -> None:
        """Have the key processed soon."""
        if self._closed or key in self._dirty:
            return
        self._cancel_timer(key)
        self._dirty[key] = asyncio.get_running_loop().time()
        if key not in self._processing:
            self._ready.append(key)
            self._wake()

    def add_after(self, key: Key, delay: float) -> None:
        """Have the key processed in `delay` seconds, or earlier if an earlier time is already set."""
        if delay <= 0:
            self.add(key)
            return
        if self._closed or key in self._dirty:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._fire, key)

    def add_failed(self, key: Key, at_least: float = 0.0) -> float:
        """Have a key that failed processed again after its back-off (seconds, returned), and after `at_least`.

        What fails before its wait is over (an event came in between) does not make the wait longer: it tells nothing new.
        """
        now = asyncio.get_running_loop().time()
        failures, due = self._failures.get(key, (0, now))
        if now < due:
            delay = max(due - now, at_least)
        else:
            # 2**64 seconds is beyond any max_delay; capping the exponent keeps the power finite.
            delay = min(self._base_delay * 2.0 ** min(failures, 64), self._max_delay)
            delay = max(delay * (1 + self._jitter * self._random_share()), at_least)
            self._failures[key] = (failures + 1, now + delay)
        self.add_after(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """The key was processed without a failure: its next failure waits the shortest time again."""
        self._failures.pop(key, None)

    async def get(self) -> tuple[Key, float]:
        """The next key and the seconds that it waited. The caller must call `done` with it. Raises ShutDown."""
        while not self._ready:
            if self._closed:
                raise ShutDown
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                # A wake-up meant for a cancelled worker goes to the next one, or its key would lie until the next add.
                if waiter.done() and not waiter.cancelled():
                    self._wake()
                raise
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        key = self._ready.popleft()
        added = self._dirty.pop(key)
        self._processing.add(key)
        return key, asyncio.get_running_loop().time() - added

    def done(self, key: Key) -> None:
        """The worker has finished with the key; if it was added meanwhile, it is handed out again."""
        self._processing.discard(key)
        if key in self._dirty:
            self._ready.append(key)
            self._wake()

    def close(self) -> None:
        """Take no more keys; workers get ShutDown when the waiting ones are done."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        while self._waiters:
            self._wake()

    def _fire(self, key: Key) -> None:
        del self._timers[key]
        self.add(key)

    def _cancel_timer(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
