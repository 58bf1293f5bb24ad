"""The subject of a report from a cluster: a job, and all that it refers to."""

from collections.abc import Iterator

from pydantic import ValidationError

from mora_jobs import api
from mora_jobs.api.references import JobKey, key_of, references
from mora_jobs.api.resolving import resolve
from mora_jobs.errors import UserError
from mora_jobs.report.job import LOG_LINES
from mora_jobs.report.subject import ShownJob, Subject

from .cluster import Absent
from .cluster_source import ClusterSource
from .source import Object


def subject(source: ClusterSource, kind: str, name: str) -> Subject:
    """The job, and those that it refers to, as far as they are there. UserError where the job itself is not."""
    jobs = dict(_family(source, kind, name))
    shown = [ShownJob(resolve(job, jobs), job, _log(source, job)) for job in jobs.values()]
    events = [event for job in jobs.values() for event in source.events([job.kind], job.metadata.name)]
    return Subject(name, shown, sorted(events, key=lambda each: str(each["time"])))


def _family(source: ClusterSource, kind: str, name: str) -> Iterator[tuple[JobKey, api.Job]]:
    todo, seen = [(kind, name)], set()
    while todo:
        key = todo.pop()
        if key in seen:
            continue
        seen.add(key)
        try:
            thing = source.objects([key[0]], key[1])[0]
        except Absent:
            if key == (kind, name):
                raise
            continue  # the page shows what is there
        job = _read(thing)
        yield key_of(job), job
        todo += [reference.key for reference in references(job)]


def _read(thing: Object) -> api.Job:
    """The object as ours; a newer operator may have written what this version does not know."""
    kind = str(thing["kind"])
    try:
        return api.KINDS[kind].model_validate(thing)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{kind}: {place}", first["msg"], "mora and the operator must be of one version") from None


def _log(source: ClusterSource, job: api.Job) -> str:
    """The last lines of its driver, while its pods are there."""
    try:
        return "\n".join(source.log(job.kind, job.metadata.name, follow=False, tail=LOG_LINES))
    except UserError:
        return ""
