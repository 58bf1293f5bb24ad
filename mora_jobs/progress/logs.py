"""Log lines of a driver: time, stage, level; to stderr, and kept for the artifacts."""

import logging
import sys
from collections import deque
from collections.abc import Callable

from mora_jobs.api.redact import redact

KEPT_CHARACTERS = 4 * 2**20
NOISY = ("httpx", "httpcore", "urllib3", "filelock", "fsspec", "botocore", "asyncio", "datasets", "matplotlib")


class _Formatter(logging.Formatter):
    """Secrets are taken out of everything, tracebacks included."""

    def __init__(self, stage: Callable[[], str]) -> None:
        super().__init__("%(asctime)s %(stage)-12s %(levelname)-7s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z")
        self._stage = stage

    def format(self, record: logging.LogRecord) -> str:
        record.stage = self._stage() or "-"
        return redact(super().format(record))


class KeptLog(logging.Handler):
    """The newest lines, in memory: a killed driver leaves no file behind."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque()
        self._size = 0

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        self._lines.append(line)
        self._size += len(line)
        while self._size > KEPT_CHARACTERS and len(self._lines) > 1:
            self._size -= len(self._lines.popleft())

    def content(self) -> bytes:
        """All kept lines, oldest first."""
        return "".join(line + "\n" for line in list(self._lines)).encode()


def set_up(stage: Callable[[], str]) -> KeptLog:
    """Log to stderr and into the kept log. `stage` tells what the driver is doing."""
    kept = KeptLog()
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for handler in (logging.StreamHandler(sys.stderr), kept):
        handler.setFormatter(_Formatter(stage))
        root.addHandler(handler)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    return kept
