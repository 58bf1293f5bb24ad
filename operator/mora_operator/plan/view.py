"""A job with what is observed of it, and the questions that several checks ask. Pure: the time comes from outside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mora_jobs.api import AttemptExit, ConditionType, Job

from ..resources import attempt_name
from ..settings import Settings
from ..times import time_of
from .conditions import is_true
from .obstacles import Obstacle
from .queueing import Workload
from .rayjobs import RayJob, Stage
from .references import References


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known about a job besides its spec."""

    status: Mapping[str, Any]
    generation: int
    deleting: bool = False
    rayjobs: tuple[RayJob, ...] = ()  # those of this very object (by uid), all attempts
    references: References = field(default_factory=References)
    referred: tuple[Job, ...] = ()  # the jobs among them that exist
    queue: str = ""  # the queue that the job names
    workload: Workload | None = None  # of the newest attempt, where Kueue has one
    obstacle: Obstacle | None = None  # what keeps its pods from coming up
    out_of_memory: str = ""  # a pod of the attempt that failed, which was killed at its memory limit


@dataclass(frozen=True, slots=True)
class View:
    """`rayjob` and `current` are about the newest attempt, `recorded` tells that its end stands in the history."""

    job: Job
    observed: Observed
    settings: Settings
    now: datetime

    @property
    def attempts(self) -> Mapping[str, int]:
        return {"current": 0, "failed": 0, "infraRestarts": 0} | dict(self.observed.status.get("attempts") or {})

    @property
    def rayjob(self) -> RayJob | None:
        """The newest RayJob. It may be newer than status says, if the operator died between its create and the write."""
        return max(self.observed.rayjobs, key=lambda rayjob: rayjob.attempt, default=None)

    @property
    def current(self) -> int:
        return max(self.attempts["current"], self.rayjob.attempt if self.rayjob else 0)

    @property
    def name(self) -> str:
        """Of the newest attempt."""
        return attempt_name(self.job.metadata.name, self.current)

    @property
    def exit(self) -> AttemptExit | None:
        """How the newest attempt's driver ended, as it said itself."""
        record = self.observed.status.get("exit")
        return AttemptExit.model_validate(record) if record and record["attempt"] == self.current else None

    @property
    def history(self) -> Sequence[Mapping[str, Any]]:
        """Attempts that ended, newest first."""
        return self.observed.status.get("attemptHistory") or []

    @property
    def recorded(self) -> bool:
        return is_recorded(self.observed.status, self.current)

    @property
    def started(self) -> datetime | None:
        """When the newest attempt began to run, as far as anybody knows; None while it waits in a queue."""
        if self.rayjob is not None:
            if self.rayjob.stage is Stage.QUEUED:
                return None
            return time_of(self.rayjob.ran_at or self.rayjob.begun_at or self.rayjob.created)
        attempt = self.observed.status.get("currentAttempt") or {}
        return time_of(attempt["startTime"]) if attempt.get("startTime") else None

    def was(self, kind: ConditionType) -> bool:
        return is_true(self.observed.status, kind)

    def since(self, reason: str) -> datetime:
        """When Reconciling became true for `reason`; now, if it has not."""
        for condition in self.observed.status.get("conditions", []):
            if condition["type"] == ConditionType.RECONCILING and condition["status"] == "True":
                return time_of(condition["lastTransitionTime"]) if condition["reason"] == reason else self.now
        return self.now

    def active_seconds(self) -> float:
        """Time that attempts have run so far; what lies between them (suspended, waiting) does not count."""
        # Not from the history, which holds the last attempts only.
        ended: int = (self.observed.status.get("usage") or {}).get("activeSeconds", 0)
        return ended if self.recorded else ended + self.seconds_until(self.now)

    def seconds_until(self, end: datetime) -> float:
        """Seconds that the newest attempt ran until `end`."""
        return max(0.0, (end - self.started).total_seconds()) if self.started is not None else 0.0

    def lost_seconds(self, end: datetime) -> int:
        """Work of the newest attempt, ended at `end`, that is done again: since its last checkpoint or report.

        What is done prompt by prompt is kept prompt by prompt; a driver that stopped by itself has saved before.
        """
        if self.started is None or (self.exit is not None and self.exit.reason == "Stopped"):
            return 0
        status = self.observed.status
        progress, checkpoint = status.get("progress") or {}, status.get("checkpoint") or {}
        saved = checkpoint.get("time") if progress.get("unit") == "Steps" else progress.get("lastUpdatedTime")
        begun = max(self.started, time_of(saved)) if saved else self.started
        return max(0, round((end - begun).total_seconds()))

    def alive(self) -> bool:
        """Whether there is a RayJob that has not ended."""
        return self.rayjob is not None and self.rayjob.stage not in (Stage.SUCCEEDED, Stage.FAILED)

    def silent_seconds(self) -> float | None:
        """Time since the newest attempt's driver was last heard of; None where it has not begun."""
        if self.started is None:
            return None
        heard = (self.observed.status.get("progress") or {}).get("lastUpdatedTime")
        return (self.now - max(self.started, time_of(heard) if heard else self.started)).total_seconds()


def newest_attempt(status: Mapping[str, Any]) -> int:
    """Index of a job's newest attempt, as its status tells; 0 where there is none."""
    index: int = (status.get("attempts") or {}).get("current", 0)
    return index


def is_recorded(status: Mapping[str, Any], attempt: int) -> bool:
    """Whether the end of the newest attempt stands in the history."""
    history = status.get("attemptHistory") or []
    return bool(history) and history[0]["index"] == attempt


def is_finished(status: Mapping[str, Any]) -> bool:
    """Whether the job has come to its end, good or bad."""
    return is_true(status, ConditionType.COMPLETE) or is_true(status, ConditionType.FAILED)
