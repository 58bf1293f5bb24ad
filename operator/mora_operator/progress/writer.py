"""What drivers reported, on its way into status: coalesced, cut to size, and written by server-side apply.

Only the endpoint's own members are written, under a field manager of its own, so that it never competes with the
reconciler. Every write names the version of the job that it was made from: two replicas may serve one job in turn, and
what one of them remembers must not take the place of what the other has written since.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiolimiter import AsyncLimiter

from mora_jobs.api import ConditionType
from mora_jobs.api.budget import REPORTED_BYTES, cut
from mora_jobs.api.reports import RESULTS

from ..kube.client import Conflict, Invalid, Kube, KubeError, NotFound
from ..plan.conditions import is_true, merge, no, yes
from ..plan.view import newest_attempt
from ..resources import JobKey, Object
from ..settings import Settings
from ..times import text_of
from ..workqueue import ShutDown, WorkQueue
from .job_cache import JobCache

log = logging.getLogger(__name__)
FIELD_MANAGER = "mora-progress"
REPORTED = ("progress", "metrics", "checkpoint", "outputs", "links", "exit")
WORKERS = 4
TRIES = 5


@dataclass(slots=True)
class _Pending:
    """Members of status that are to be written for an attempt, the newest of them reported `at` a time."""

    uid: str
    attempt: int
    fields: Object
    at: datetime


class ProgressWriter:
    """One write per job and interval, and so many per second in all; a driver's last report is written at once."""

    def __init__(self, kube: Kube, jobs: JobCache, settings: Settings) -> None:
        self._kube = kube
        self._jobs = jobs
        self._interval = settings.progress_interval_seconds
        # Beyond this rate reports wait, and those that wait are written as one: the more jobs, the more coalesced.
        self._pace = AsyncLimiter(settings.progress_writes_per_second, 1.0)
        self._pending: dict[JobKey, _Pending] = {}
        self._due: dict[JobKey, float] = {}  # loop time before which nothing but a last report is written
        self._locks: dict[JobKey, asyncio.Lock] = {}
        self._queue: WorkQueue[JobKey] = WorkQueue()

    async def write(
        self, key: JobKey, uid: str, attempt: int, fields: Object, now: datetime, *, at_once: bool
    ) -> None:
        """Have the members written; `at_once` means before this returns. Raises KubeError where that is not possible."""
        self._keep(key, _Pending(uid, attempt, fields, now))
        if at_once:
            await self._flush(key)
        else:
            self._queue.add_after(key, self._due.get(key, 0.0) - asyncio.get_running_loop().time())

    def works(self) -> list[Coroutine[Any, Any, None]]:
        return [self._work() for _ in range(WORKERS)]

    async def close(self) -> None:
        """Write what is still pending, as far as the API server lets us, and stop."""
        self._queue.close()
        for key in list(self._pending):
            try:
                await self._flush(key)
            except KubeError as error:
                log.warning("progress could not be written: %s", error, extra={"job": str(key)})

    async def _work(self) -> None:
        while True:
            try:
                key, _ = await self._queue.get()
            except ShutDown:
                return
            try:
                await self._pace.acquire()
                await self._flush(key)
                self._queue.forget(key)
            except Invalid as error:
                log.error("a report was refused by the API server: %s", error, extra={"job": str(key)})
            except KubeError as error:
                log.warning("progress could not be written: %s", error, extra={"job": str(key)})
                self._queue.add_failed(key, error.retry_after)
            finally:
                self._queue.done(key)

    def _keep(self, key: JobKey, new: _Pending, *, older: bool = False) -> None:
        """Merge into what waits already. `older` puts back what could not be written: what came since wins."""
        kept = self._pending.get(key)
        if kept is not None and (kept.uid, kept.attempt) == (new.uid, new.attempt):
            first, second = (new, kept) if older else (kept, new)
            self._pending[key] = _Pending(new.uid, new.attempt, first.fields | second.fields, second.at)
        elif kept is None or not older:
            self._pending[key] = new

    async def _flush(self, key: JobKey) -> None:
        """Write what waits for a job. One write at a time: an older one must not land after a newer one."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            pending = self._pending.pop(key, None)
            if pending is None:
                return
            try:
                there = await self._apply(key, pending)
            except Invalid:
                raise  # sending it again will not help, nor should the next report build upon it
            except KubeError:
                self._keep(key, pending, older=True)
                raise
            self._due[key] = asyncio.get_running_loop().time() + self._interval
        if not there or "exit" in pending.fields:
            for table in (self._locks, self._due):
                table.pop(key, None)

    async def _apply(self, key: JobKey, pending: _Pending) -> bool:
        """Write it onto the job as it is now. False where there is no such job, or its attempt is over."""
        for tried in range(TRIES):
            raw = await self._jobs.get(key, fresh=tried > 0)
            if raw is None or raw["metadata"]["uid"] != pending.uid:
                return False
            status = raw.get("status") or {}
            if newest_attempt(status) > pending.attempt:
                return False
            if "exit" not in pending.fields and is_stale(status, pending.at):
                return True
            members = standing(status, key.kind, pending.attempt) | pending.fields
            body = {
                "apiVersion": key.resource.api_version,
                "kind": key.kind,
                "metadata": {name: raw["metadata"][name] for name in ("name", "namespace", "uid", "resourceVersion")},
                "status": fitted(members, raw, pending.at),
            }
            try:
                written = await self._kube.apply_status(key.resource, key.namespace, key.name, body, FIELD_MANAGER)
            except NotFound:
                return False
            except Conflict as error:
                conflict = error
                continue
            self._jobs.put(key, written)
            return True
        raise conflict


def is_stale(status: Object, at: datetime) -> bool:
    """Whether another replica has written something that was reported later."""
    written: str = (status.get("progress") or {}).get("lastUpdatedTime", "")
    return written > text_of(at)


def standing(status: Object, kind: str, attempt: int) -> Object:
    """Our members as status has them. Server-side apply removes what we leave out, so each write repeats them."""
    names = (*REPORTED, *(field.alias or name for name, field in RESULTS[kind].model_fields.items()))
    fields = {name: status[name] for name in names if name in status}
    if "links" in fields:  # the dashboard's is the reconciler's
        fields["links"] = {name: uri for name, uri in fields["links"].items() if name != "dashboardURL"}
    if fields.get("exit", {}).get("attempt") != attempt:
        fields.pop("exit", None)  # how an earlier attempt ended says nothing about this one
    return fields


def fitted(members: Object, raw: Object, now: datetime) -> Object:
    """The members within their part of the status, with the condition Truncated where something was cut (or had been)."""
    cuts = cut(members, REPORTED_BYTES)
    status, kind = raw.get("status") or {}, ConditionType.TRUNCATED
    if not cuts and not is_true(status, kind):
        return members
    finding = (
        yes(kind, f"{cuts[0]}Truncated", f"cut to fit into the status, complete in the artifacts: {', '.join(cuts)}")
        if cuts
        else no(kind, "Complete")
    )
    present = [each for each in status.get("conditions", []) if each["type"] == kind]
    return members | {"conditions": merge(present, [finding], raw["metadata"]["generation"], now)}
