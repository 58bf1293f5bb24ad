"""A driver says how far it is, and hears what is wanted of it. Reporting never stops or slows a job.

    reporter = Reporter(Wire.from_environment())
    reporter.update(12, 64, "Prompts", stage="Rollouts")      # cheap: call it as often as something is done
    reporter.finish(result, exit)                             # the last word, retried until acknowledged

`update` only notes the newest state; a background thread sends it at most every `interval` seconds, and every
`heartbeat` seconds even when nothing changed, because what is wanted comes with the replies.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mora_jobs.api import Desired, Exit, Links, Metric, Model, OutputRef, Progress, ProgressReport, number
from mora_jobs.api.progress import ProgressReply
from mora_jobs.api.status import Checkpoint
from mora_jobs.stopping import Stopped

from .rate import Rate
from .wire import Outcome, Wire

__all__ = ["Reporter", "Stopped"]

log = logging.getLogger(__name__)

MAX_METRICS = 64
MAX_STAGE = 64
LONGEST_PAUSE = 60.0


class Reporter:
    """Reports of one driver. Without a wire it is silent, but `update` still raises Stopped after `stop`."""

    def __init__(
        self,
        wire: Wire | None = None,
        *,
        interval: float = 5.0,
        heartbeat: float = 15.0,
        final_seconds: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = wire
        self._interval, self._heartbeat, self._final_seconds = interval, heartbeat, final_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._fresh, self._closed = True, False  # the first report, still empty, says that the driver has started
        self._desired, self._stopping = Desired.CONTINUE, False
        self._rate = Rate()
        self._progress: Progress | None = None
        self._result: Model | Mapping[str, Any] | None = None
        self._metrics: dict[str, float] = {}
        self._checkpoint: Checkpoint | None = None
        self._outputs: list[OutputRef] = []
        self._links: Links | None = None
        self._thread: threading.Thread | None = None
        if wire is not None:
            self._thread = threading.Thread(target=self._send_all, name="progress", daemon=True)
            self._thread.start()

    def update(
        self,
        completed: int,
        total: int,
        unit: str = "Prompts",
        status: Model | Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        *,
        stage: str = "",
        failed: int = 0,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """`completed` of `total` units of a stage are done, `failed` of them without success.

        `status` is the kind's own part of status so far; what is not given keeps its last value. Call it when finished
        work is committed: it raises Stopped when the job is to stop.
        """
        with self._changed:
            now = self._clock()
            self._rate.observe((stage, unit, total), completed, now)
            rate = self._rate.per_second()
            self._progress = Progress(
                progress_percentage=min(100, math.floor(100 * completed / total)) if total else 0,
                estimated_remaining_seconds=self._rate.remaining_seconds(total) if total else None,
                completed=completed,
                total=total,
                failed=failed,
                unit=unit,
                stage=stage[:MAX_STAGE],
                last_updated_time=datetime.now(UTC).replace(microsecond=0),
            )
            self._metrics |= metrics or {}
            if rate is not None:
                self._metrics[f"{unit.lower()}_per_second"] = rate
            self._result = status if status is not None else self._result
            self._checkpoint = checkpoint or self._checkpoint
            self._fresh = True
            self._changed.notify()
            stop = self._stopping or self._desired is Desired.STOP
        if stop:
            raise Stopped

    def counter(self, total: int, unit: str, stage: str) -> Callable[[int], None]:
        """A function that is told how many more of `total` units are done, and reports the sum: for stages that only count."""
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            self.update(done, total, unit, stage=stage)

        return count

    @property
    def stage(self) -> str:
        """What the job is doing, as `update` said last."""
        return self._progress.stage if self._progress else ""

    def desired(self) -> Desired:
        """What the operator (or a SIGTERM) wants: Continue, Checkpoint (save now, and go on) or Stop (save and end)."""
        with self._changed:
            return Desired.STOP if self._stopping else self._desired

    def stop(self) -> None:
        """Have the job stop at its next `update`."""
        # No lock: a signal handler may run while this very thread holds it.
        self._stopping = True

    def finish(
        self,
        status: Model | Mapping[str, Any] | None,
        exit: Exit,
        outputs: Sequence[OutputRef] = (),
        links: Links | None = None,
        within: float | None = None,
    ) -> bool:
        """The last report. Retried until it is acknowledged, for `within` (or `final_seconds`) at most; True when it was."""
        with self._changed:
            self._closed = True
            self._result = status if status is not None else self._result
            self._outputs, self._links = list(outputs), links
            report = self._report(exit)
            self._changed.notify()
        if self._wire is None or self._thread is None:
            return True
        deadline = self._clock() + (self._final_seconds if within is None else within)
        self._thread.join(timeout=deadline - self._clock())
        return self._insist(self._wire, report, deadline)

    def _insist(self, wire: Wire, report: ProgressReport, deadline: float) -> bool:
        pause = 0.5
        while True:
            outcome, _, line = wire.post(report)
            if outcome is Outcome.ACKNOWLEDGED:
                return True
            if outcome is Outcome.REFUSED or self._clock() + pause > deadline:
                log.warning("the last report was not acknowledged (%s); it lies in exit.json of the artifacts", line)
                return False
            time.sleep(pause)
            pause = min(pause * 2, 10.0)

    def _report(self, exit: Exit | None = None) -> ProgressReport:
        finite = [(name, value) for name, value in self._metrics.items() if math.isfinite(value)]
        result = self._result
        return ProgressReport(
            progress=self._progress,
            metrics=[Metric(name=name[:64], value=number(value)) for name, value in finite[:MAX_METRICS]],
            checkpoint=self._checkpoint,
            outputs=self._outputs,
            links=self._links,
            result=result.to_dict() if isinstance(result, Model) else None if result is None else dict(result),
            exit=exit,
        )

    def _send_all(self) -> None:
        failures = 0
        wait = 0.0
        while (report := self._next(wait)) is not None:
            assert self._wire is not None
            outcome, reply, line = self._wire.post(report)
            if outcome is Outcome.ACKNOWLEDGED:
                failures, wait = 0, self._interval
                self._heed(reply or ProgressReply())
            else:
                failures += 1
                # Everything is sent again anyhow, so a refused report needs no other treatment than a lost one.
                wait = min(self._interval * 2.0 ** min(failures, 16), LONGEST_PAUSE) * (1 + 0.2 * random.random())
                level = logging.WARNING if failures == 1 else logging.DEBUG
                log.log(level, "progress could not be reported (%s); the job goes on", line)

    def _next(self, wait: float) -> ProgressReport | None:
        """The newest state, `wait` seconds from now at the earliest; None when the job has finished."""
        with self._changed:
            since = time.monotonic()
            while not self._closed:
                waited = time.monotonic() - since
                if waited >= wait and (self._fresh or waited >= self._heartbeat):
                    self._fresh = False
                    return self._report()
                self._changed.wait(timeout=(wait if waited < wait else self._heartbeat) - waited)
            return None

    def _heed(self, reply: ProgressReply) -> None:
        with self._changed:
            if reply.desired is not self._desired:
                log.info("asked to %s", reply.desired.lower())
            self._desired = reply.desired
