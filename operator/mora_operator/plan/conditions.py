"""Conditions of a job. They are made in `mora_jobs.api.conditions`, because `mora run` writes the same statuses."""

from mora_jobs.api.conditions import Finding, is_true, merge, no, of_job, ready, yes
from mora_jobs.api.redact import one_line as clip

__all__ = ["Finding", "clip", "is_true", "merge", "no", "of_job", "ready", "yes"]
