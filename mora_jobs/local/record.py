"""One job of a run: its object, as a cluster would show it, kept in its status file at every change."""

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mora_jobs import api
from mora_jobs.api import ConditionType, ExitClass, Phase, retries
from mora_jobs.api.conditions import is_true, merge, no, of_job, yes
from mora_jobs.api.redact import one_line
from mora_jobs.api.reports import reported, timestamp

from .workdir import Object, Workdir

HISTORY_LIMIT = 10
RETRY_SECONDS = 1.0  # before the second attempt; no cluster has to be made anew
INPUTS = "mora.dev/inputs"
"""Annotation: a fingerprint of the local files that the job read, so that a changed one is noticed."""


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class JobRecord:
    """The state of one job. Reports come from the endpoint's threads, everything else from the main thread."""

    def __init__(
        self,
        workdir: Workdir,
        job: api.Job,
        before: Object | None = None,
        has_inputs: bool = False,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._workdir, self._clock, self._has_inputs = workdir, clock, has_inputs
        self._lock = threading.RLock()
        self._failures = 0  # in this run, one after the other
        self.key = f"{job.kind}/{job.metadata.name}"
        self.job = job
        earlier = before["metadata"] if before else {}
        self.metadata: Object = {
            **job.metadata.to_dict(),
            "uid": earlier.get("uid") or str(uuid.uuid4()),
            "creationTimestamp": earlier.get("creationTimestamp") or timestamp(clock()),
            "generation": 1,
        }
        self.status: Object = dict((before or {}).get("status") or {})

    @property
    def phase(self) -> Phase:
        return Phase(self.status.get("phase", Phase.PENDING))

    @property
    def attempt(self) -> int:
        return int(self.status.get("attempts", {}).get("current", 0))

    @property
    def exit(self) -> api.Exit | None:
        """How the current attempt ended, as the driver said it."""
        with self._lock:
            record = self.status.get("exit")
            return api.AttemptExit.model_validate(record) if record and record["attempt"] == self.attempt else None

    def is_true(self, kind: ConditionType) -> bool:
        return is_true(self.status, kind)

    def snapshot(self) -> Object:
        """The object as it is now."""
        with self._lock:
            return {
                "apiVersion": api.API_VERSION,
                "kind": self.job.kind,
                "metadata": self.metadata,
                "spec": self.job.spec.to_dict(),
                "status": dict(self.status),
            }

    def reopen(self) -> None:
        """A run begins with this job, whatever an earlier run came to; not for one that is complete."""
        with self._lock:
            if self.phase is Phase.RUNNING:
                self._lost()
            reason = "Resumed" if self.attempt else "Created"
            self._become(Phase.PENDING, reason, "waits for Ray to start", reconciling=True)

    def wait(self, message: str) -> None:
        """It waits for jobs that it refers to."""
        self._become(Phase.WAITING, "WaitingForInputs", message, inputs_ready=False)

    def queue(self) -> None:
        """It could run, but the machine is full."""
        self._become(Phase.QUEUED, "WaitingForResources", "waits for free processors or memory", reconciling=True)

    def give_up(self, message: str) -> None:
        """A job that it refers to has failed."""
        self._become(Phase.STALLED, "ReferenceFailed", message, inputs_ready=False, stalled=True)

    def hold(self) -> None:
        """spec.suspend is true."""
        self._become(Phase.SUSPENDED, "Suspended", "suspended by spec.suspend")

    def begin(self, gpus: int, inputs: str) -> int:
        """Another attempt starts; returns its index."""
        with self._lock:
            started = timestamp(self._clock())
            attempts = {"current": 0, "failed": 0, "infraRestarts": 0} | self.status.get("attempts", {})
            attempts["current"] += 1
            self.metadata["annotations"] = self.metadata.get("annotations", {}) | {INPUTS: inputs}
            for name in ("completionTime", "exit", "progress"):
                self.status.pop(name, None)
            self.status.setdefault("startTime", started)
            self.status |= {
                "attempts": attempts,
                "currentAttempt": {"index": attempts["current"], "startTime": started},
                "gpus": gpus,
                "links": {"logs": self._workdir.log_file(self.key).as_uri()},
            }
            self._become(Phase.RUNNING, "Running", f"attempt {attempts['current']} runs", cluster_ready=True)
            return int(attempts["current"])

    def accept(self, report: api.ProgressReport, attempt: int) -> None:
        """A report of the driver. Raises ValidationError for one that is not of this kind."""
        fields = reported(report, self.job.kind, attempt, self._clock())
        with self._lock:
            # The workdir's own log stays: it holds all attempts.
            links = fields.get("links", {}) | self.status.get("links", {})
            self.status |= fields | {"links": links}
            self._write()

    def end(self, exit: api.Exit, final: bool = False) -> float | None:
        """The driver ended. Returns the seconds to wait before another attempt, or None if there is to be none."""
        with self._lock:
            self.status["exit"] = {**exit.to_dict(), "attempt": self.attempt}
            if exit.class_ is ExitClass.SUCCESS:
                self.status["completionTime"] = timestamp(self._clock())
                self._become(Phase.COMPLETE, exit.reason, exit.message or "complete")
                return None
            self._remember(exit)
            if exit.reason in ("Stopped", "Interrupted"):
                self.abandon(exit)
                return None
            attempts = self.status["attempts"]
            decision = retries.decide(self.job.spec, exit, attempts)
            if decision.counter is not None:
                self.status["attempts"] = attempts | {decision.counter: attempts[decision.counter] + 1}
            if final or not decision.again:
                self.abandon(exit)
                return None
            self._failures += 1
            delay = retries.delay_seconds(self._failures, RETRY_SECONDS)
            message = f"attempt {self.attempt} ended ({exit.reason}): {exit.message}; the next one in {delay:g} s"
            self._become(Phase.RETRYING, exit.reason, message, reconciling=True)
            return delay

    def abandon(self, exit: api.Exit) -> None:
        """There is no other attempt in this run, because of `exit`."""
        if exit.reason in ("Stopped", "Interrupted"):
            message = "interrupted; run the same command again to resume"
            self._become(Phase.SUSPENDED, "Interrupted", message)
            return
        with self._lock:
            self.status["completionTime"] = timestamp(self._clock())
            self._become(Phase.FAILED, exit.reason, exit.message, stalled=True)

    def active_seconds(self) -> float:
        """Time that all attempts ran so far."""
        spans = [(past.get("startTime"), past.get("endTime")) for past in self.status.get("attemptHistory", [])]
        spans.append((self.status.get("currentAttempt", {}).get("startTime"), timestamp(self._clock())))
        return sum((_time(end) - _time(start)).total_seconds() for start, end in spans if start and end)

    def _lost(self) -> None:
        """The status says that an attempt runs, but nobody is there: the whole run was killed."""
        seen = self.status.get("progress", {}).get("lastUpdatedTime", self.status["currentAttempt"]["startTime"])
        self._remember(api.Exit(class_=ExitClass.INFRA, reason="RunKilled", message="`mora run` was killed"), seen)
        self.status["attempts"] = self.status["attempts"] | {
            "infraRestarts": self.status["attempts"].get("infraRestarts", 0) + 1
        }

    def _remember(self, exit: api.Exit, end_time: str | None = None) -> None:
        past: dict[str, Any] = {
            "index": self.attempt,
            "reason": exit.reason,
            "class": exit.class_.value,
            "message": exit.message,
            "startTime": self.status["currentAttempt"]["startTime"],
            "endTime": end_time or timestamp(self._clock()),
        }
        self.status["attemptHistory"] = [past, *self.status.get("attemptHistory", [])][:HISTORY_LIMIT]

    def _become(
        self,
        phase: Phase,
        reason: str,
        message: str,
        *,
        inputs_ready: bool = True,
        reconciling: bool = False,
        stalled: bool = False,
        cluster_ready: bool = False,
    ) -> None:
        with self._lock:
            changed = self.status.get("phase") != phase.value or self._reason() != reason
            ready = yes(ConditionType.INPUTS_READY, "InputsReady" if self._has_inputs else "NoReferences")
            findings = of_job(
                phase,
                reason,
                message,
                reconciling=reconciling,
                stalled=stalled,
                inputs=ready if inputs_ready else no(ConditionType.INPUTS_READY, reason, message),
                cluster=yes(ConditionType.CLUSTER_READY, "ClusterReady") if cluster_ready else None,
            )
            self.status |= {
                "observedGeneration": 1,
                "phase": phase.value,
                "conditions": merge(self.status.get("conditions", []), findings, 1, self._clock()),
            }
            self._write()
            if changed:
                warning = phase in (Phase.FAILED, Phase.STALLED)
                self._workdir.add_event(self._clock(), self.key, reason, one_line(message), warning)

    def _reason(self) -> str:
        return next((c["reason"] for c in self.status.get("conditions", []) if c["type"] == ConditionType.READY), "")

    def _write(self) -> None:
        self._workdir.write_status(self.snapshot())


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
