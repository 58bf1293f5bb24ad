"""How fast a job goes and how long it still takes."""

import math
from dataclasses import dataclass

LEAST_SECONDS = 1.0
"""Observed for a shorter time, a rate says nothing: finished work comes in bursts."""


@dataclass
class Rate:
    """Units per second, smoothed: what was done `window` seconds ago counts 1/e as much as what is done now.

    The first observation is the baseline, so that work of an earlier attempt makes nobody look fast; a counter that
    falls, or a new `key` (another stage), begins anew.
    """

    window: float = 60.0
    _key: object = None
    _completed: int = 0
    _time: float = 0.0
    _units: float = 0.0
    _seconds: float = 0.0

    def observe(self, key: object, completed: int, now: float) -> None:
        """`completed` units of the stage `key` were done at `now` (seconds of a monotonic clock)."""
        if key != self._key or completed < self._completed:
            self._key, self._units, self._seconds = key, 0.0, 0.0
        else:
            elapsed = max(now - self._time, 0.0)
            kept = math.exp(-elapsed / self.window)
            self._units = self._units * kept + (completed - self._completed)
            self._seconds = self._seconds * kept + elapsed
        self._completed, self._time = completed, now

    def per_second(self) -> float | None:
        """The rate, or None while too little was seen."""
        return self._units / self._seconds if self._units > 0 and self._seconds >= LEAST_SECONDS else None

    def remaining_seconds(self, total: int) -> int | None:
        """Time left until `total` units are done, or None while that cannot be told."""
        rate = self.per_second()
        left = max(total - self._completed, 0)
        if left == 0:
            return 0
        return None if rate is None else math.ceil(left / rate)
