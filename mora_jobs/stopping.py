"""SIGTERM and SIGINT as a request to stop at the next safe point, whatever libraries do to signal handlers.

`ray.init` replaces the handler of SIGTERM by one that exits on the spot (and prints a stack trace). So the signals are
blocked in every thread, and one thread waits for them.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

STOP_SECONDS = 10.0
"""Time from the request to the moment at which a driver that reached no safe point by itself is interrupted."""
SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


class Stopped(BaseException):
    """The job was asked to stop. What is done is committed; a later attempt goes on from there.

    Like KeyboardInterrupt no Exception, so that code which retries what failed does not retry this.
    """


class StopSignals:
    """Make one in the main thread, before anything starts another thread."""

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        # Blocked signals are inherited: a child that is forked has to end on SIGTERM as any process does.
        os.register_at_fork(after_in_child=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS))
        self._over = threading.Event()

    def listen(self, stop: Callable[[], None], seconds: float = STOP_SECONDS) -> None:
        """Call `stop` when a signal comes; `seconds` later, and again and again, raise Stopped in the main thread."""

        def wait() -> None:
            signal.sigwait(SIGNALS)
            stop()
            while not self._over.wait(seconds):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

        signal.signal(signal.SIGALRM, _interrupt)
        threading.Thread(target=wait, name="stop-signals", daemon=True).start()

    def close(self) -> None:
        """From here on there is nothing left to be stopped."""
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        self._over.set()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Stopped
