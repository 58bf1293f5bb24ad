"""From a subject to one HTML page: read every job's artifacts, draw them, and fill the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mora_jobs import api
from mora_jobs.artifacts.failures import StoreUnavailable
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError
from mora_jobs.report.alignment_section import AlignmentSection, alignment_section
from mora_jobs.report.job import Head, digests, head, own_artifacts
from mora_jobs.report.page import Page, fill
from mora_jobs.report.rewrite_section import RewriteSection, rewrite_section
from mora_jobs.report.rollout_section import RolloutSection, rollout_section
from mora_jobs.report.subject import Subject

ORDER = list(api.KINDS)
Body = RolloutSection | RewriteSection | AlignmentSection


@dataclass(frozen=True)
class Section:
    """One job on the page; without a body where its artifacts cannot be read."""

    head: Head
    body: Body | None


def draw(subject: Subject) -> bytes:
    """The page, UTF-8; nothing outside it is needed to read it. Jobs that are not finished are shown as far as they are."""
    sections = [_section(head(job)) for job in subject.jobs]
    # References come first; among jobs of a kind, the order in which they ran.
    sections.sort(key=lambda s: (ORDER.index(s.head.job.kind), str(_start(s.head)), s.head.name))
    page = fill(Page(title=subject.title, sections=sections, events=subject.events))
    return page.encode("utf-8", "replace")


def _start(outline: Head) -> Any:
    return outline.shown.status.start_time if outline.shown.status else None


def _section(outline: Head) -> Section:
    """The job with what its artifacts hold; a note says why they cannot be read."""
    status = outline.shown.status
    uri = outline.job.spec.output.uri
    if uri.startswith("pvc://"):
        left = status.links.report if status and status.links else None
        beside = f" The driver left its own report there: {left}." if left else ""
        outline.notes.append(
            f"The artifacts lie on a volume of the cluster, {uri}, which cannot be read from here.{beside}"
        )
        return Section(outline, None)
    try:
        store = own_artifacts(outline.resolved)
        body = _body(outline.resolved, _status(outline.job, status), store)
        if store is not None and status is not None:
            outline.digests.extend(digests(store, status))
        elif outline.complete:
            outline.notes.append(f"The artifacts are no longer at {outline.job.spec.output.uri}.")
    except (UserError, StoreUnavailable) as error:
        outline.notes.append(f"The artifacts cannot be read: {error}")
        body = None
    return Section(outline, body)


def _body(resolved: api.ResolvedJob, status: Any, store: Store | None) -> Body:
    match resolved.job:
        case api.RolloutJob() as job:
            return rollout_section(job, status, store)
        case api.RewriteJob() as job:
            return rewrite_section(job, status, store, _source(resolved, job))
        case job:
            return alignment_section(job, status, store)


def _status(job: api.Job, status: api.CommonStatus | None) -> Any:
    kinds: Mapping[str, Any] = {
        "RolloutJob": api.RolloutStatus,
        "RewriteJob": api.RewriteStatus,
        "AlignmentJob": api.AlignmentStatus,
    }
    return status or kinds[job.kind]()


def _source(resolved: api.ResolvedJob, job: api.RewriteJob) -> api.RolloutJob | None:
    try:
        return resolved.rollout_job(job.spec.source.rollout_job_ref.name)
    except KeyError:  # it never started, so nothing was resolved
        return None
