"""What the report says about any job, whatever its kind and however far it came."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import yaml

from mora_jobs import api
from mora_jobs.api import Phase
from mora_jobs.artifacts.document import read_json
from mora_jobs.artifacts.identity import COMPLETE, JOB, without_secrets
from mora_jobs.artifacts.store import Store
from mora_jobs.report.figures import count, plural, span
from mora_jobs.report.subject import ShownJob

LOG_LINES = 25
OWN_METADATA = ("name", "namespace", "labels")
_NOT_PRINTED = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Digest:
    """Something that went into a job or came out of it, by its content."""

    role: str
    name: str
    digest: str


@dataclass(frozen=True)
class Head:
    """The outline of a job. `resolved` holds absolute URIs; `settings` is the manifest with all defaults, as YAML."""

    resolved: api.ResolvedJob
    shown: api.Job
    settings: str
    digests: list[Digest] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    log: str = ""

    @property
    def job(self) -> api.Job:
        return self.resolved.job

    @property
    def name(self) -> str:
        return self.job.metadata.name

    @property
    def phase(self) -> str:
        status = self.shown.status
        return (status.phase if status and status.phase else Phase.PENDING).value

    @property
    def complete(self) -> bool:
        return self.phase == Phase.COMPLETE

    @property
    def message(self) -> str:
        """Why it stands where it stands; nothing for a complete job."""
        status = self.shown.status
        if status is None or self.complete:
            return ""
        if status.exit is not None and status.exit.message:
            return status.exit.message
        return next((c.message for c in status.conditions if c.type == "Ready" and c.message), "")

    @property
    def reason(self) -> str:
        status = self.shown.status
        return status.exit.reason if status and status.exit and not self.complete else ""

    @property
    def progress(self) -> str:
        """How far the running (or interrupted) stage is; nothing for a complete job."""
        progress = self.shown.status.progress if self.shown.status else None
        if progress is None or self.complete or not progress.total:
            return ""
        left = progress.estimated_remaining_seconds
        rest = f", about {span(left)} left" if left and self.phase == Phase.RUNNING else ""
        stage = progress.stage or "progress"
        return f"{stage}: {count(progress.completed)} of {count(progress.total)} {progress.unit.lower()}{rest}"

    @property
    def share(self) -> int | None:
        """Percent of that stage."""
        progress = self.shown.status.progress if self.shown.status else None
        return progress.progress_percentage if progress and self.progress else None

    @property
    def duration(self) -> str:
        """Time from the first start to the end, with the number of attempts when it took several."""
        status = self.shown.status
        if status is None or status.start_time is None or status.completion_time is None:
            return ""
        seconds = (status.completion_time - status.start_time).total_seconds()
        attempts = status.attempts.current if status.attempts else 1
        return span(seconds) + (f", {plural(attempts, 'attempt')}" if attempts > 1 else "")

    @property
    def finished(self) -> datetime | None:
        return self.shown.status.completion_time if self.shown.status else None


def head(job: ShownJob) -> Head:
    """The outline of a job."""
    shown = job.shown
    document = without_secrets(shown.to_dict())
    document.pop("status", None)
    document["metadata"] = {name: value for name, value in document["metadata"].items() if name in OWN_METADATA}
    settings = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    unfinished = shown.status is None or shown.status.phase is not Phase.COMPLETE
    log = "\n".join(printable(job.log).splitlines()[-LOG_LINES:]) if unfinished else ""
    return Head(job.resolved, shown, settings, log=log)


def own_artifacts(resolved: api.ResolvedJob) -> Store | None:
    """The folder of the job's artifacts, or None while there are none, or while they are another experiment's."""
    store = Store(resolved.job.spec.output.uri)
    there = read_json(store, JOB)
    if there is None:
        return None
    ours = without_secrets(api.identity(resolved))
    same = all(there["identity"][part] == ours[part] for part in ("job", "references"))
    return store if same else None


def digests(store: Store, status: Any) -> list[Digest]:
    """What the job read and what it wrote."""
    inputs = (read_json(store, JOB) or {}).get("identity", {}).get("inputs", {})
    outputs = {output.name: output.digest for output in status.outputs if output.digest}
    outputs |= (read_json(store, COMPLETE) or {}).get("outputs", {})
    found = [Digest("read", name, str(digest)) for name, digest in sorted(inputs.items())]
    return found + [Digest("written", name, str(digest)) for name, digest in sorted(outputs.items())]


def printable(text: str) -> str:
    """The text without colours and other control characters of a terminal."""
    return _NOT_PRINTED.sub("", text)
