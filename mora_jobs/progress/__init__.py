"""The driver's side of the progress wire (mora_jobs.api.progress)."""
