"""Runs the jobs of a run: each as soon as those it refers to are complete and the machine has room for it.

One thread decides, from one queue of things that happened: a driver ended, a report came, Ctrl-C, Ray ended.
"""

import logging
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from mora_jobs import api
from mora_jobs.api import ConditionType, Desired, ExitClass, Phase

from . import session
from .capacity import Capacity, demand, free_memory, may_start
from .endpoint import Endpoint
from .record import JobRecord, now
from .session import Session
from .workdir import Workdir

log = logging.getLogger(__name__)

TICK = 0.25
GRACE_SECONDS = 30.0
"""Time from the request to stop until a driver is killed; drivers give up on a safe point after ten seconds."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Step:
    """One job of the run, in the order in which they may run. `needs` are the KIND/NAME of those it refers to."""

    key: str
    resolved: api.ResolvedJob
    needs: tuple[str, ...]
    inputs: str
    """Fingerprint of the local files that it reads."""


class View(Protocol):
    """What the user watches."""

    def refresh(self) -> None: ...

    def say(self, line: str) -> None: ...


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    started: float
    kill_at: float | None = None
    ending: api.Exit | None = None
    """Why we ended it, if we did."""
    final: bool = False
    """Whether another attempt would make no sense."""


class Supervisor:
    def __init__(
        self,
        steps: Sequence[Step],
        records: Mapping[str, JobRecord],
        workdir: Workdir,
        processes: Session,
        endpoint: Endpoint,
        there: Capacity,
        view: View,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps, self._records, self._workdir = steps, records, workdir
        self._processes, self._endpoint, self._there, self._view = processes, endpoint, there, view
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self._not_before: dict[str, float] = {}
        """Jobs that wait for another attempt, and when it may start."""
        # put() of a SimpleQueue may be called by a signal handler that interrupts a put().
        self._happened: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._interrupts = 0
        self._broken: api.Exit | None = None

    @property
    def interrupted(self) -> bool:
        return self._interrupts > 0

    @property
    def _over(self) -> bool:
        """Nothing more is started."""
        return self.interrupted or self._broken is not None

    def ray_ended(self) -> None:
        """Tell that the embedded Ray is gone. From any thread."""
        self._happened.put(self._stop_broken)

    def run(self) -> None:
        """Until every job is complete, has failed or cannot run; or until interrupted. Call it from the main thread."""
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            self._start_what_may()
            while self._running or (self._not_before and not self._over):
                self._wait()
                self._end_late_ones()
                self._start_what_may()
                self._view.refresh()
            for key in self._not_before:
                self._records[key].abandon(self._broken or _interrupted())
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._view.refresh()

    def _wait(self) -> None:
        try:
            self._happened.get(timeout=TICK)()
            while True:
                self._happened.get_nowait()()
        except queue.Empty:
            return

    def _start_what_may(self) -> None:
        """Start what can run now, and say of the others why they do not."""
        for step in self._steps:
            record = self._records[step.key]
            if step.key in self._running or record.is_true(ConditionType.COMPLETE) or record.phase is Phase.FAILED:
                continue
            if record.job.spec.suspend:
                record.hold()
                continue
            failed = [key for key in step.needs if self._records[key].phase in (Phase.FAILED, Phase.STALLED)]
            if failed:
                record.give_up(f"{failed[0]} has failed")
                continue
            unfinished = [key for key in step.needs if not self._records[key].is_true(ConditionType.COMPLETE)]
            if unfinished:
                record.wait(f"waits for {unfinished[0]} to complete")
            elif self._over or self._clock() < self._not_before.get(step.key, 0.0):
                continue
            elif may_start(record.job, [self._records[key].job for key in self._running], self._there, free_memory()):
                self._start(step, record)
            else:
                record.queue()

    def _start(self, step: Step, record: JobRecord) -> None:
        self._not_before.pop(step.key, None)
        attempt = record.begin(demand(record.job, self._there).gpus, step.inputs)
        resolved = step.resolved.with_changes(
            job=record.job.with_changes(metadata=api.ObjectMeta.model_validate(record.metadata)), attempt=attempt
        )
        job_file = self._workdir.write_job(step.key, resolved.dump())
        log_file = self._workdir.log_file(step.key)
        _head(log_file, f"--- {now().isoformat()} {step.key}, attempt {attempt}")
        process = self._processes.start_driver(job_file, log_file, self._endpoint.url(step.key, attempt))
        self._running[step.key] = _Running(process, self._clock())

        def watch() -> None:
            code = process.wait()
            self._happened.put(lambda: self._ended(step.key, code))

        threading.Thread(target=watch, name=step.key, daemon=True).start()

    def _ended(self, key: str, code: int) -> None:
        running, record = self._running.pop(key), self._records[key]
        session.kill(running.process)  # its children, should it have left any
        exit = record.exit or _guess(code, self._workdir.log_file(key))
        if running.ending is not None and exit.class_ is not ExitClass.SUCCESS:
            exit = running.ending
        delay = record.end(exit, final=running.final or self._over)
        if delay is not None:
            self._not_before[key] = self._clock() + delay

    def _end_late_ones(self) -> None:
        """Deadlines of the spec, and drivers that were asked to stop and did not."""
        for key, running in self._running.items():
            record, spec = self._records[key], self._records[key].job.spec
            ran = self._clock() - running.started
            if running.kill_at is None:
                if spec.attempt_deadline_seconds is not None and ran > spec.attempt_deadline_seconds:
                    self._stop(
                        running, _deadline(f"attemptDeadlineSeconds ({spec.attempt_deadline_seconds}) exceeded")
                    )
                elif (
                    spec.active_deadline_seconds is not None and record.active_seconds() > spec.active_deadline_seconds
                ):
                    running.final = True
                    self._stop(running, _deadline(f"activeDeadlineSeconds ({spec.active_deadline_seconds}) exceeded"))
            elif self._clock() > running.kill_at:
                session.kill(running.process)
                running.kill_at = self._clock() + GRACE_SECONDS

    def _stop(self, running: _Running, why: api.Exit) -> None:
        running.ending = running.ending or why
        running.kill_at = self._clock() + GRACE_SECONDS
        session.terminate(running.process)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1
        self._happened.put(self._stop_all if self._interrupts == 1 else self._kill_all)

    def _stop_all(self) -> None:
        if self._running:
            self._view.say("stopping at the next safe point; interrupt again to stop at once")
        self._endpoint.desired = Desired.STOP
        for running in self._running.values():
            self._stop(running, _interrupted())

    def _kill_all(self) -> None:
        for running in self._running.values():
            session.kill(running.process)

    def _stop_broken(self) -> None:
        if (self._running or self._not_before) and self._broken is None:
            message = "the embedded Ray ended; its logs are beside the job's"
            self._broken = api.Exit(class_=ExitClass.INFRA, reason="RayLost", message=message)
            for running in self._running.values():
                running.ending = running.ending or self._broken
            self._kill_all()


def _guess(code: int, log_file: Path) -> api.Exit:
    """How a driver ended that could not say it itself."""
    if code == 0:
        return api.Exit(class_=ExitClass.SUCCESS, reason="Complete")
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (the kernel does that when memory runs out)" if -code == signal.SIGKILL else ""
        # Counted against backoffLimit: the memory of this machine does not grow.
        return api.Exit(class_=ExitClass.APP, reason="Killed", message=f"the driver was ended by {name}{hint}")
    message = f"the driver ended with code {code}; see {log_file}"
    return api.Exit(
        class_=ExitClass.USER_ERROR if code == 2 else ExitClass.APP, reason="DriverFailed", message=message
    )


def _deadline(message: str) -> api.Exit:
    return api.Exit(class_=ExitClass.APP, reason="DeadlineExceeded", message=message)


def _interrupted() -> api.Exit:
    return api.Exit(class_=ExitClass.INFRA, reason="Interrupted", message="interrupted")


def _head(log_file: Path, line: str) -> None:
    with log_file.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
