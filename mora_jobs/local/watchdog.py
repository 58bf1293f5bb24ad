"""Cleans up after a run, however it ended: ends every process that belongs to it and removes its scratch folder.

    python watchdog.py VARIABLE=VALUE FOLDER

A process belongs to the run if its environment holds VARIABLE=VALUE. `mora run` holds the other end of stdin: when
that closes, by plan or because `mora run` was killed, the work begins. Needs the standard library only, and is run as a
file, so that it starts at once and is small.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

SECONDS = 20.0


def belonging(marker: bytes) -> list[int]:
    """Processes of this user with the marker in their environment, except this one."""
    found: list[int] = []
    if not Path("/proc/self/environ").exists():  # no Linux: Ray's own reaper and the drivers' lifelines have to do
        return found
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if marker in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # gone meanwhile, or another user's
            continue
    return found


def clean(marker: bytes) -> None:
    """Kill until nothing is left: a process may start another while it is being killed."""
    deadline = time.monotonic() + SECONDS
    while (left := belonging(marker)) and time.monotonic() < deadline:
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    clean(sys.argv[1].encode())
    shutil.rmtree(sys.argv[2], ignore_errors=True)


if __name__ == "__main__":
    main()
