"""A pool of engines or reward models that is opened when it is first needed and then kept."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Generic, TypeVar

Pool = TypeVar("Pool")


class Held(AbstractContextManager[Pool], Generic[Pool]):
    """What `open_pool` opens, entered as often as there is work for it, and held in between.

    Nothing is opened before the first `with`. An error inside one closes the pool; `close` does so in any case, and a
    pool that has been closed is opened anew by the next `with`.
    """

    def __init__(self, open_pool: Callable[[], AbstractContextManager[Pool]]) -> None:
        self._open = open_pool
        self._stack = ExitStack()
        self._pool: Pool | None = None

    def __enter__(self) -> Pool:
        if self._pool is None:
            self._pool = self._stack.enter_context(self._open())
        return self._pool

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._pool = None
            self._stack.__exit__(kind, error, trace)

    @property
    def is_open(self) -> bool:
        return self._pool is not None

    def close(self) -> None:
        self._pool = None
        self._stack.close()
