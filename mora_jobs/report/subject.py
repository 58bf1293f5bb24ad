"""What a report is about, wherever it comes from: a workdir, a cluster, or the driver of a job that has just ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mora_jobs import api


@dataclass(frozen=True)
class ShownJob:
    """A job of the report."""

    resolved: api.ResolvedJob
    """With absolute URIs: where its artifacts lie."""
    shown: api.Job
    """As its author wrote it, with its status."""
    log: str = ""
    """What its driver printed, or the end of it."""


@dataclass(frozen=True)
class Subject:
    """The jobs of an experiment in any order, and what happened to them: {time, object, reason, message} each."""

    title: str
    jobs: Sequence[ShownJob]
    events: Sequence[Mapping[str, Any]] = ()
