"""The progress endpoint: drivers report here over HTTPS, and their reports become part of their job's status.

A pod proves who it is by a ServiceAccount token whose audience names one attempt of one job; no other job's pod has
one. Only this endpoint's own part of status is written, by server-side apply under a field manager of its own, so that
it never competes with the reconciler. Reports are coalesced; the last one is written before it is acknowledged.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from aiohttp import web
from pydantic import ValidationError

from mora_jobs.api import Desired, ProgressReply, ProgressReport, reports
from mora_jobs.api.progress import MAX_BODY_BYTES
from mora_jobs.api.reports import RESULTS

from .authentication import Authenticator, Unauthenticated
from .kube import Conflict, Invalid, Kube, KubeError, NotFound
from .reconciler import first_fault, read_job
from .render import Attempt, service_account
from .resources import JOBS, JobKey, Object
from .settings import Settings
from .store import Store
from .uris import globalise
from .workqueue import ShutDown, WorkQueue

log = logging.getLogger(__name__)
FIELD_MANAGER = "mora-progress"
REPORTED = ("progress", "metrics", "checkpoint", "outputs", "links", "exit")
PLURALS = {resource.plural: kind for kind, resource in JOBS.items()}


class Refused(Exception):
    """A report that is not accepted, with the HTTP status that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ProgressEndpoint:
    """Accepts reports at POST /v1alpha1/{namespace}/{plural}/{name}/{attempt}."""

    def __init__(
        self,
        kube: Kube,
        store: Store,
        settings: Settings,
        clock: Callable[[], datetime],
        on_report: Callable[[int], None] = lambda status: None,
    ) -> None:
        self._kube = kube
        self._store = store
        self._interval = settings.progress_interval_seconds
        self._authenticator = Authenticator(kube)
        self._clock = clock
        self._on_report = on_report
        self._pending: dict[JobKey, Object] = {}
        self._due: dict[JobKey, float] = {}  # loop time before which nothing but a last report is written
        self._locks: dict[JobKey, asyncio.Lock] = {}
        self._queue: WorkQueue[JobKey] = WorkQueue()

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_post("/v1alpha1/{namespace}/{plural}/{name}/{attempt:[0-9]+}", self._post)
        return application

    async def _post(self, request: web.Request) -> web.Response:
        try:
            reply = await self._accept(request)
        except Refused as refusal:
            self._on_report(refusal.status)
            return web.json_response({"error": str(refusal)}, status=refusal.status)
        except Invalid as error:
            self._on_report(400)
            return web.json_response({"error": error.message}, status=400)
        except KubeError as error:
            log.warning("a report could not be kept: %s", error)
            self._on_report(503)
            return web.json_response({"error": "the API server is not available, try again"}, status=503)
        self._on_report(200)
        return web.json_response(reply.to_dict())

    async def _accept(self, request: web.Request) -> ProgressReply:
        key, attempt, raw = await self._authenticate(request)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise Refused(413, f"a report may have at most {MAX_BODY_BYTES} bytes") from None
        try:
            report = ProgressReport.model_validate_json(body)
            fields = reported(report, key.kind, attempt.index, self._clock())
        except ValidationError as error:
            raise Refused(400, first_fault(error)) from None
        before = self._pending.get(key) or standing(raw.get("status") or {}, key.kind, attempt.index)
        self._pending[key] = before | fields
        if report.exit is not None:
            await self._flush(key)
        else:
            loop = asyncio.get_running_loop()
            self._queue.add_after(key, self._due.get(key, 0.0) - loop.time())
        suspended = raw["spec"].get("suspend", False)
        return ProgressReply(desired=Desired.STOP if suspended else Desired.CONTINUE)

    async def _authenticate(self, request: web.Request) -> tuple[JobKey, Attempt, Object]:
        """The job and attempt that the request speaks for; Refused where its token is not that very attempt's."""
        path = request.match_info
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            raise Refused(401, "a bearer token is needed")
        key = JobKey(PLURALS.get(path["plural"], ""), path["namespace"], path["name"])
        raw = self._store.job(key)
        if raw is None:
            raise Refused(404, "there is no such job")
        uid, index = raw["metadata"]["uid"], int(path["attempt"])
        attempt = Attempt(key, uid, read_job(raw, key.kind), index, ())
        try:
            user = await self._authenticator.user(token, attempt.audience)
        except Unauthenticated as error:
            raise Refused(401, str(error)) from None
        if user != f"system:serviceaccount:{key.namespace}:{service_account(attempt)}":
            raise Refused(403, "the token belongs to another ServiceAccount than the job's")
        newest = max((rayjob.attempt for rayjob in self._store.rayjobs(key, uid)), default=0)
        if index != newest:
            raise Refused(410, f"attempt {index} is over")
        return key, attempt, raw

    async def work(self) -> None:
        """Write what was reported, a job at a time, until `close`."""
        while True:
            try:
                key, _ = await self._queue.get()
            except ShutDown:
                return
            try:
                await self._flush(key)
                self._queue.forget(key)
            except Invalid as error:
                log.error("a report was refused by the API server: %s", error, extra={"job": str(key)})
            except KubeError as error:
                log.warning("progress could not be written: %s", error, extra={"job": str(key)})
                self._queue.add_failed(key, error.retry_after)
            finally:
                self._queue.done(key)

    async def close(self) -> None:
        """Write what is still pending, as far as the API server lets us, and stop."""
        self._queue.close()
        for key in list(self._pending):
            try:
                await self._flush(key)
            except KubeError as error:
                log.warning("progress could not be written: %s", error, extra={"job": str(key)})

    async def _flush(self, key: JobKey) -> None:
        """Write the newest report of a job. One write at a time: an older one must not land after a newer one."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            fields, raw = self._pending.get(key), self._store.job(key)
            if fields is None:
                return
            try:
                if raw is not None:
                    await self._apply(key, raw["metadata"]["uid"], fields)
            except Invalid:
                del self._pending[key]  # sending it again will not help, nor should the next report build upon it
                raise
            # A report that came in while this one was written stays pending, and is flushed by its own call.
            if self._pending.get(key) is fields:
                del self._pending[key]
            self._due[key] = asyncio.get_running_loop().time() + self._interval
            if raw is None or "exit" in fields:
                for table in (self._locks, self._due):
                    table.pop(key, None)

    async def _apply(self, key: JobKey, uid: str, fields: Object) -> None:
        body = {
            "apiVersion": key.resource.api_version,
            "kind": key.kind,
            # The uid makes the API server refuse what was reported for a deleted job of the same name.
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid},
            "status": fields,
        }
        try:
            written = await self._kube.apply_status(key.resource, key.namespace, key.name, body, FIELD_MANAGER)
        except (NotFound, Conflict):
            return  # the job was deleted meanwhile: nobody will read what it reported
        self._store.put_job(written, key.kind)


def reported(report: ProgressReport, kind: str, attempt: int, now: datetime) -> Object:
    """The members of status that a report sets, with URIs as they are outside of pods."""
    outside: Object = globalise(reports.reported(report, kind, attempt, now))
    return outside


def standing(status: Object, kind: str, attempt: int) -> Object:
    """Our members as status has them. Server-side apply removes what we leave out, so each write repeats them."""
    names = (*REPORTED, *(field.alias or name for name, field in RESULTS[kind].model_fields.items()))
    fields = {name: status[name] for name in names if name in status}
    if "links" in fields:  # the dashboard's is the reconciler's
        fields["links"] = {name: uri for name, uri in fields["links"].items() if name != "dashboardURL"}
    if fields.get("exit", {}).get("attempt") != attempt:
        fields.pop("exit", None)  # how an earlier attempt ended says nothing about this one
    return fields
