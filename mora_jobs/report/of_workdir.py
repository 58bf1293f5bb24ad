"""The report of a workdir of `mora run`: its status files, logs and events."""

from pathlib import Path

from mora_jobs import api
from mora_jobs.local.workdir import Workdir, replace
from mora_jobs.report.draw import draw
from mora_jobs.report.subject import ShownJob, Subject

LOG_BYTES = 16_384


def write(folder: Path, target: Path | None = None) -> Path:
    """Write FOLDER/report.html (or `target`) and return its path. Nothing outside the file is needed to read it.

    Jobs that are not finished are shown as far as they are. UserError for a workdir whose files are damaged.
    """
    workdir = Workdir(folder)
    target = target or workdir.root / "report.html"
    replace(target, draw(subject(workdir)))
    return target


def subject(workdir: Workdir) -> Subject:
    """All of its jobs."""
    jobs = []
    for key, thing in workdir.objects().items():
        shown = api.KINDS[thing["kind"]].model_validate(thing)
        try:
            resolved = api.ResolvedJob.load(workdir.job_file(key).read_bytes())
        except FileNotFoundError:  # it never started
            resolved = api.ResolvedJob(job=shown)
        jobs.append(ShownJob(resolved, shown, _tail(workdir.log_file(key))))
    events = [{"object": f"{event['kind']}/{event['name']}", **event} for event in workdir.events()]
    return Subject(workdir.root.name, jobs, events)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - LOG_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
