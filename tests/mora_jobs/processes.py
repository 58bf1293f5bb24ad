"""Waiting for what other processes do, and finding those of a run."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 270
"""How long something may take that usually takes one: test machines are busy."""


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something that another process does."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {SECONDS} s for {what}")


def belonging(marker: str) -> list[int]:
    """Processes with `marker` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "environ").read_bytes() and (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
