"""The driver process of one job: `python -m mora_jobs --job FILE`. RayJobs run it, and so does `mora run`.

FILE is a ResolvedJob as JSON. Exit codes: 0 done, 2 a mistake in the manifest or its inputs (one line on stderr),
1 anything else (a traceback on stderr), 143 stopped by SIGTERM. The exit record is reported, and lies as exit.json
beside the artifacts.
"""

import argparse
import importlib
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from mora_jobs import api
from mora_jobs.artifacts.document import write_json
from mora_jobs.artifacts.identity import is_claimed
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError
from mora_jobs.lifeline import die_with
from mora_jobs.progress import exits, logs
from mora_jobs.progress.reporter import Reporter, Stopped
from mora_jobs.progress.wire import Wire

log = logging.getLogger("mora_jobs")

DRIVERS = {"RolloutJob": "rollout", "RewriteJob": "rewrite", "AlignmentJob": "align"}
STOP_SECONDS = 10
"""Time between SIGTERM and the moment at which a driver that reached no safe point by itself is interrupted."""

Driver = Callable[[api.ResolvedJob, Reporter], api.Model]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mora_jobs", description="Run the driver of one resolved job.")
    parser.add_argument("--job", required=True, type=Path, metavar="FILE", help="ResolvedJob as JSON")
    parser.add_argument("--parent", type=int, metavar="PID", help="end when this parent process ends")
    given = parser.parse_args(arguments)
    if given.parent is not None:
        die_with(given.parent)

    reporter = Reporter(Wire.from_environment())
    kept_log = logs.set_up(lambda: reporter.stage)
    _stop_on_signals(reporter)
    store, result = None, None
    try:
        resolved = _load(given.job)
        store = Store(resolved.job.spec.output.uri)
        result = _driver(resolved)(resolved, reporter)
        record = _success(result)
    except (Exception, SystemExit, Stopped) as error:
        record = exits.describe(error)
        _tell(record, error)
    finally:
        # From here on there is nothing left to be stopped.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
    if store is not None and is_claimed(store):
        _keep(store, record, kept_log.content())
    reporter.finish(result, record, within=STOP_SECONDS if record.reason == "Stopped" else None)
    return exits.code(record)


def _load(path: Path) -> api.ResolvedJob:
    try:
        return api.ResolvedJob.load(path.read_bytes())
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path}: {place}", first["msg"], "the operator and this image must be of one version"
        ) from error


def _driver(resolved: api.ResolvedJob) -> Driver:
    """The driver's `run`. Imported late: a bad job file costs no import of torch."""
    module = importlib.import_module(f"mora_jobs.{DRIVERS[resolved.job.kind]}.driver")
    run: Driver = module.run
    return run


def _success(result: api.Model) -> api.Exit:
    nothing = (
        isinstance(result, api.RewriteResult) and result.rewrites is not None and not result.rewrites.prompts.total
    )
    return exits.success("NothingToRewrite", "no single-reward prompt was found") if nothing else exits.success()


def _tell(record: api.Exit, error: BaseException) -> None:
    if record.class_ is api.ExitClass.USER_ERROR or record.reason == "Stopped":
        log.error("%s", record.message)
    else:
        log.error("%s: %s", record.reason, record.message, exc_info=error)


def _keep(store: Store, record: api.Exit, lines: bytes) -> None:
    """Beside the artifacts, where they outlive the pods. A store that fails now must not hide how the job ended."""
    try:
        write_json(store, "exit.json", record.to_dict())
        store.write("driver.log", lines)
    except Exception as error:
        log.warning("exit.json could not be written: %s", error)


def _stop_on_signals(reporter: Reporter) -> None:
    """SIGTERM: stop at the next safe point; one that does not come within STOP_SECONDS is not waited for."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise Stopped

    def stop(signum: int, frame: FrameType | None) -> None:
        reporter.stop()
        signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS, STOP_SECONDS / 2)

    signal.signal(signal.SIGALRM, interrupt)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


if __name__ == "__main__":
    sys.exit(main())
