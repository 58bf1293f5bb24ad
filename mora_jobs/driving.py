"""One job from its file to its exit record: the inside of `python -m mora_jobs`."""

import importlib
import logging
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from mora_jobs import api
from mora_jobs.artifacts.document import write_json
from mora_jobs.artifacts.identity import is_claimed, is_complete
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError
from mora_jobs.progress import exits, logs, memory
from mora_jobs.progress.reporter import Reporter
from mora_jobs.progress.wire import Wire
from mora_jobs.stopping import STOP_SECONDS, Stopped, StopSignals

log = logging.getLogger("mora_jobs")

DRIVERS = {"RolloutJob": "rollout", "RewriteJob": "rewrite", "AlignmentJob": "align"}
Driver = Callable[[api.ResolvedJob, Reporter], api.Model]


def drive(job_file: Path, signals: StopSignals) -> int:
    """Run the driver of the job; returns the exit code of the process."""
    reporter = Reporter(Wire.from_environment())
    kept_log = logs.set_up(lambda: reporter.stage)
    signals.listen(reporter.stop)
    store, result, kills_before = None, None, memory.kills()
    try:
        resolved = _load(job_file)
        store = Store(resolved.job.spec.output.uri)
        result = _driver(resolved)(resolved, reporter)
        record = _success(result)
    except (Exception, SystemExit, Stopped) as error:
        record = memory.judge(exits.describe(error), kills_before)
        _tell(record, error)
    finally:
        signals.close()
    links = None
    if store is not None and is_claimed(store):
        links = _keep(store, resolved, record, kept_log.content())
    outputs = _outputs(store) if store is not None and result is not None else []
    reporter.finish(result, record, outputs, links, within=STOP_SECONDS if record.reason == "Stopped" else None)
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


def _outputs(store: Store) -> list[api.OutputRef]:
    """What the job has written, with the digests that its completion marker names."""
    written = is_complete(store) or {}
    return [api.OutputRef(name=name, uri=f"{store.uri}/{name}", digest=digest) for name, digest in written.items()]


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


def _keep(store: Store, resolved: api.ResolvedJob, record: api.Exit, lines: bytes) -> api.Links | None:
    """Exit record, log and report, beside the artifacts, where they outlive the pods.

    A store or a drawing that fails now must not hide how the job ended.
    """
    try:
        write_json(store, "exit.json", record.to_dict())
        store.write("driver.log", lines)
        links = api.Links(logs=f"{store.uri}/driver.log")
    except Exception as error:
        log.warning("exit.json could not be written: %s", error)
        return None
    if record.reason == "Stopped":
        return links  # there is no time left, and another attempt will draw it
    try:
        from mora_jobs.report.of_driver import report

        store.write("report.html", report(resolved, record, lines.decode()))
    except Exception as error:
        log.warning("the report could not be written: %s", error)
        return links
    return links.with_changes(report=f"{store.uri}/report.html")
