"""`mora run`, from top to bottom: manifests → checks → embedded Ray → drivers in order → report and results.

Exit codes: 0 every job is complete (or suspended by its manifest), 1 a job failed, 2 the manifests or their inputs are
wrong, 130 interrupted. Running the same command again resumes: complete jobs are left alone, others go on where they were.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from mora_jobs.api import ConditionType, ExitClass, Phase
from mora_jobs.errors import UserError

from . import capacity
from .display import Display, duration
from .endpoint import Endpoint
from .experiment import Refused, check_prompts, check_same, is_done, plan
from .record import JobRecord
from .session import RayFailed, Session, missing_credentials
from .summary import summary
from .supervisor import Step, Supervisor
from .workdir import Workdir

log = logging.getLogger(__name__)

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    paths: Sequence[Path]
    workdir: Path | None = None
    sets: Sequence[str] = ()
    volumes: Sequence[str] = ()
    dashboard: bool = False


def run(options: Options, console: Console) -> int:
    """Run the experiment; returns the exit code. Raises UserError or Refused before anything is written."""
    began = time.monotonic()
    workdir = Workdir(options.workdir or default_workdir(options.paths))
    steps = plan(options.paths, options.sets, options.volumes, workdir)
    there = capacity.machine()
    before = workdir.objects()
    check_same(steps, before, workdir)
    open_steps = [step for step in steps if step.key not in before or not is_done(step, before[step.key])]
    jobs = [step.resolved.job for step in open_steps]
    if obstacles := [*missing_credentials(jobs), *capacity.check_fits(jobs, there)]:
        raise Refused(obstacles)
    check_prompts(open_steps)

    with workdir.locked():
        records = {
            step.key: JobRecord(workdir, step.resolved.job, before.get(step.key), bool(step.needs)) for step in steps
        }
        interrupted = bool(open_steps) and _supervise(open_steps, records, workdir, options, there, console)
        return _conclude(records, workdir, interrupted, console, time.monotonic() - began)


def default_workdir(paths: Sequence[Path]) -> Path:
    """runs/NAME in the current folder, NAME being that of the first folder or file of manifests."""
    first = paths[0].resolve()
    return Path("runs") / (first.name if first.is_dir() else first.stem)


def _supervise(
    steps: Sequence[Step],
    records: dict[str, JobRecord],
    workdir: Workdir,
    options: Options,
    there: capacity.Capacity,
    console: Console,
) -> bool:
    """Run the steps; True when the user interrupted them."""
    for step in steps:
        records[step.key].reopen()
    endpoint = Endpoint(records)
    with endpoint, Session(endpoint.token) as processes, Display(records, console) as display:
        jobs = [step.resolved.job for step in steps]
        processes.add_credentials(jobs)
        supervisor = Supervisor(steps, records, workdir, processes, endpoint, there, display)
        ray_log = workdir.root / "logs" / "ray.log"
        display.say(
            f"{workdir}: starting Ray on {there.cpus} processors" + (f", {there.gpus} GPUs" * bool(there.gpus))
        )
        ray = processes.start_ray(there, options.dashboard, ray_log, supervisor.ray_ended)
        if ray.dashboard:
            display.say(f"Ray dashboard: http://{ray.dashboard}")
        supervisor.run()
        if any(record.exit and record.exit.class_ in (ExitClass.APP, ExitClass.INFRA) for record in records.values()):
            processes.keep_ray_logs(workdir.root / "logs" / "ray")
        return supervisor.interrupted


def _conclude(
    records: dict[str, JobRecord], workdir: Workdir, interrupted: bool, console: Console, seconds: float
) -> int:
    """Tell what came out, and return the exit code."""
    console.print(summary(record.snapshot() for record in records.values()))
    failed = [record for record in records.values() if record.phase in (Phase.FAILED, Phase.STALLED)]
    for record in failed:
        if record.phase is Phase.FAILED and record.exit is not None:
            line = f"{record.key} failed ({record.exit.reason}): {record.exit.message}; log: {workdir.log_file(record.key)}"
            console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    if any(record.is_true(ConditionType.COMPLETE) for record in records.values()) and not interrupted:
        write_report(workdir, console)
    if interrupted and any(record.phase is not Phase.COMPLETE for record in records.values()):
        console.print("interrupted; run the same command again to resume", style="yellow", highlight=False)
        return INTERRUPTED
    if failed:
        mistakes = [record for record in failed if record.exit and record.exit.class_ is ExitClass.USER_ERROR]
        return 2 if mistakes else 1
    console.print(f"done in {duration(seconds)}; workdir: {workdir}", highlight=False, soft_wrap=True)
    return 0


def write_report(workdir: Workdir, console: Console) -> None:
    """The HTML report. A run whose jobs are complete does not fail because a drawing library is not installed."""
    try:
        from mora_jobs.report import write
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mora_jobs"):
            raise
        console.print(f"no report: {error.name} is not installed (pip install 'mora-operator[cli]')", highlight=False)
        return
    path = write(workdir.root)
    console.print(f"report: {path}", highlight=False, soft_wrap=True)


__all__ = ["Options", "RayFailed", "Refused", "UserError", "default_workdir", "run", "write_report"]
