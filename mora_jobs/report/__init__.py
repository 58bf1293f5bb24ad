"""The HTML report of an experiment: one self-contained file that can be sent to a colleague."""

from mora_jobs.report.of_workdir import write

__all__ = ["write"]
