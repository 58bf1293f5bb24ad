"""Where jobs are looked up: a workdir of `mora run`, or a cluster. Commands do not care which."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

Object = dict[str, Any]


class Source(Protocol):
    """Objects in the shape that a cluster gives them."""

    def objects(self, kinds: Sequence[str], name: str | None = None) -> list[Object]:
        """The jobs of some kinds, by kind and name. UserError if `name` is given and there is no such job."""
        ...

    def changes(self, kinds: Sequence[str], name: str | None = None) -> Iterator[list[Object]]:
        """The same now, and again whenever something may have changed; without end."""
        ...

    def log(self, kind: str, name: str, follow: bool, tail: int | None) -> Iterator[str]:
        """Lines of the driver's log, without line ends. UserError if there is none."""
        ...

    def events(self, kinds: Sequence[str], name: str | None = None) -> list[Object]:
        """{time, type, reason, object, message}, oldest first."""
        ...

    def remark(self) -> str | None:
        """What one should know about the source when reading it, if anything."""
        ...
