"""Rows become parts of a table, often enough that a kill costs little and seldom enough that parts stay large."""

import time
from types import TracebackType
from typing import Any, Self

from mora_jobs.artifacts.table import Table

PART_ROWS = 256
PART_SECONDS = 20.0


class Appender:
    """Collects rows and commits a part when it has PART_ROWS rows or is PART_SECONDS old, and at the end.

    What was collected is committed also when the block is left by an exception: a job that is stopped, or that fails at
    one prompt, keeps the finished ones.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows: list[dict[str, Any]] = []
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._commit()

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= PART_ROWS or time.monotonic() - self._since > PART_SECONDS:
            self._commit()

    def _commit(self) -> None:
        # Taken out first: when the append fails, leaving the block must not try the same rows again.
        ready, self._rows, self._since = self._rows, [], time.monotonic()
        if ready:
            self._table.append(ready)
