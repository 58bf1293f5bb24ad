"""For experiments that are killed: parts of one row each, so that there is something to lose at every moment."""

from mora_jobs.generation import appender

appender.PART_SECONDS = 0.0
