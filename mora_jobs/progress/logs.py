"""Log lines of a driver: time, stage, level; to stderr, and kept for the artifacts."""

import logging
import sys
import tempfile
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path

from mora_jobs.api.redact import redact

KEPT_BYTES = 8 * 2**20
NOISY = ("httpx", "httpcore", "urllib3", "filelock", "fsspec", "botocore", "asyncio", "datasets", "matplotlib")


class _Formatter(logging.Formatter):
    """Secrets are taken out of everything, tracebacks included."""

    def __init__(self, stage: Callable[[], str]) -> None:
        super().__init__("%(asctime)s %(stage)-12s %(levelname)-7s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z")
        self._stage = stage

    def format(self, record: logging.LogRecord) -> str:
        record.stage = self._stage() or "-"
        return redact(super().format(record))


def set_up(stage: Callable[[], str]) -> Path:
    """Log to stderr and to a file of at most KEPT_BYTES (returned). `stage` tells what the driver is doing."""
    kept = Path(tempfile.mkdtemp(prefix="mora-log-")) / "driver.log"
    handlers: list[logging.Handler] = [
        logging.StreamHandler(sys.stderr),
        RotatingFileHandler(kept, maxBytes=KEPT_BYTES // 2, backupCount=1, encoding="utf-8"),
    ]
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(_Formatter(stage))
        root.addHandler(handler)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    return kept


def kept_lines(kept: Path) -> bytes:
    """What was logged, oldest first."""
    older = kept.with_name(kept.name + ".1")
    return b"".join(path.read_bytes() for path in (older, kept) if path.exists())
