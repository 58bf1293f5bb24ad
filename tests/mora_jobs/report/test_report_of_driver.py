"""The report that a driver leaves beside its artifacts shows what the workdir's report shows, without the workdir."""

from pathlib import Path

import pytest
from invented import PROMPTS, Experiment
from page_reader import Read, read

from mora_jobs import api
from mora_jobs.report import write
from mora_jobs.report.of_driver import report

DONE = api.Exit(class_=api.ExitClass.SUCCESS, reason="Complete")


@pytest.fixture
def rewritten(experiment: Experiment) -> api.ResolvedJob:
    """A rewrite job that has just finished, with its rollout job behind it."""
    experiment.rollout(PROMPTS)
    experiment.rewrite()
    return api.ResolvedJob.load(experiment.place.job_file("RewriteJob/rewrite").read_bytes())


def page_of(resolved: api.ResolvedJob, exit: api.Exit, log: str, folder: Path) -> Read:
    file = folder / "page.html"
    file.write_bytes(report(resolved, exit, log))
    return read(file)


def test_it_shows_the_job_and_what_it_refers_to(experiment: Experiment, rewritten: api.ResolvedJob) -> None:
    page = page_of(rewritten, DONE, "", experiment.folder)
    whole = read(write(experiment.folder))
    assert "2 jobs, complete" in page.text
    assert [image["alt"] for image in page.all("img")] == [image["alt"] for image in whole.all("img")] != []
    assert page.all("section") == whole.all("section")


def test_a_failure_is_told_with_the_last_lines_of_the_log(experiment: Experiment, rewritten: api.ResolvedJob) -> None:
    failed = api.Exit(class_=api.ExitClass.APP, reason="OutOfMemory", message="no memory is left")
    lines = [f"line {number}" for number in range(100)]
    page = page_of(rewritten, failed, "\n".join(lines), experiment.folder)
    assert "OutOfMemory. no memory is left" in page.text
    assert "\n".join(lines[-25:]) in page.pres
