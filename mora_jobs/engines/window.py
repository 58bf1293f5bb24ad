"""The work that an engine holds."""

from collections.abc import Sequence

from mora_jobs.engines.host import Broken, Result, Work
from mora_jobs.errors import UserError

Weighed = tuple[Work, int]
"""Work and its weight: the samples that it draws."""


class Window:
    """Work in flight on one engine, by its keys. `load` is its weight."""

    def __init__(self) -> None:
        self._held: dict[int, Weighed] = {}
        self.load = 0

    def add(self, batch: Sequence[Weighed]) -> None:
        """Work has been sent."""
        for work, weight in batch:
            self._held[work[0]] = (work, weight)
            self.load += weight

    def settle(self, answer: Sequence[Result]) -> tuple[list[Result], str]:
        """Take off what has been answered. The results, and why the engine is broken if it says so.

        Raises UserError where that is the answer.
        """
        results: list[Result] = []
        broken = ""
        for key, result in answer:
            if isinstance(result, UserError):
                raise result
            if isinstance(result, Broken):
                broken = result.reason  # the work stays: it must be done again
                continue
            self.load -= self._held.pop(key)[1]
            results.append((key, result))
        return results, broken

    def clear(self) -> list[Weighed]:
        """Take off everything."""
        held = list(self._held.values())
        self._held, self.load = {}, 0
        return held
