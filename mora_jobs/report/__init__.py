"""The HTML report of a workdir: one self-contained file that can be sent to a colleague."""

from mora_jobs.report.write import write

__all__ = ["write"]
