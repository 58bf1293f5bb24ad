"""The report that a driver leaves beside its job's artifacts: the job, and all that it refers to."""

from datetime import UTC, datetime

from mora_jobs import api
from mora_jobs.api.references import key_of
from mora_jobs.api.resolving import resolve
from mora_jobs.artifacts.document import read_json
from mora_jobs.artifacts.identity import is_complete
from mora_jobs.artifacts.store import Store
from mora_jobs.report.draw import draw
from mora_jobs.report.subject import ShownJob, Subject


def report(resolved: api.ResolvedJob, exit: api.Exit, log: str) -> bytes:
    """The HTML page about a job whose driver ends with `exit`, having printed `log`. Reads artifacts only."""
    jobs = [_referenced(job, resolved) for job in resolved.references]
    phase = api.Phase.COMPLETE if exit.class_ is api.ExitClass.SUCCESS else api.Phase.FAILED
    status: dict[str, object] = {
        "phase": phase,
        "completionTime": datetime.now(UTC).replace(microsecond=0),
        "exit": {**exit.to_dict(), "attempt": resolved.attempt},
    }
    jobs.append(ShownJob(resolved, _with_status(resolved.job, status), log))
    return draw(Subject(resolved.job.metadata.name, jobs))


def _referenced(job: api.Job, resolved: api.ResolvedJob) -> ShownJob:
    done = is_complete(Store(job.spec.output.uri)) is not None
    status: dict[str, object] = {"phase": api.Phase.COMPLETE if done else api.Phase.PENDING}
    among = {key_of(each): each for each in resolved.references}  # its own references are among ours
    return ShownJob(resolve(job, among, resolved.import_paths), _with_status(job, status))


def _with_status(job: api.Job, status: dict[str, object]) -> api.Job:
    """The job with what its artifacts say about it."""
    result = read_json(Store(job.spec.output.uri), "status.json") or {}
    return type(job).model_validate(job.to_dict() | {"status": result | status})
