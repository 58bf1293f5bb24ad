"""The progress endpoint: drivers report here over HTTPS, and their reports become part of their job's status.

A pod proves who it is by a ServiceAccount token whose audience names one attempt of one job; no other job's pod has
one. Every replica serves it. A driver that reports too often is told to wait; it loses nothing, for reports are cumulative.
"""

import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from functools import lru_cache
from typing import Any

from aiohttp import web
from aiolimiter import AsyncLimiter
from pydantic import ValidationError

from mora_jobs.api import Desired, ProgressReply, ProgressReport, reports
from mora_jobs.api.progress import MAX_BODY_BYTES

from ..kube.client import Invalid, Kube, KubeError
from ..plan.view import newest_attempt
from ..reconciler import first_fault, read_job
from ..render.objects import Attempt, service_account
from ..render.uris import globalise
from ..resources import JOBS, JobKey, Object
from ..settings import Settings
from .authentication import Authenticator, Unauthenticated
from .job_cache import JobCache
from .writer import ProgressWriter

log = logging.getLogger(__name__)
PLURALS = {resource.plural: kind for kind, resource in JOBS.items()}
# Bad tokens of one peer in so many seconds (many drivers may share an address, and theirs are good); reports of one job.
PEER_RATE = (50, 10.0)
JOB_RATE = (20, 20.0)
BUCKETS = 10_000


class Refused(Exception):
    """A report that is not accepted, with the HTTP status that says why and seconds to wait where that may help."""

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"Retry-After": f"{max(1, round(retry_after))}"} if status == 429 else {}


class ProgressEndpoint:
    """Accepts reports at POST /v1alpha1/{namespace}/{plural}/{name}/{attempt}."""

    def __init__(
        self,
        kube: Kube,
        settings: Settings,
        clock: Callable[[], datetime],
        on_report: Callable[[int], None] = lambda status: None,
    ) -> None:
        # A write shows the job as it is: who reports once in an interval is hardly ever read.
        self._jobs = JobCache(kube, 1.5 * settings.progress_interval_seconds)
        self._writer = ProgressWriter(kube, self._jobs, settings)
        self._authenticator = Authenticator(kube)
        self._clock = clock
        self._on_report = on_report
        # Buckets of who was not heard of for long are given up, which only forgives them.
        self._peers = lru_cache(maxsize=BUCKETS)(lambda peer: AsyncLimiter(*PEER_RATE))
        self._reporters = lru_cache(maxsize=BUCKETS)(lambda key: AsyncLimiter(*JOB_RATE))

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_post("/v1alpha1/{namespace}/{plural}/{name}/{attempt:[0-9]+}", self._post)
        return application

    def works(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run beside the server."""
        return self._writer.works()

    async def close(self) -> None:
        """Write what is still pending, as far as the API server lets us, and stop."""
        await self._writer.close()

    async def _post(self, request: web.Request) -> web.Response:
        try:
            reply = await self._accept(request)
        except Refused as refusal:
            self._on_report(refusal.status)
            return web.json_response({"error": str(refusal)}, status=refusal.status, headers=refusal.headers)
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
        peer = self._peers(request.remote)
        _check(peer, PEER_RATE)
        try:
            key, attempt, raw = await self._authenticate(request)
        except Refused as refusal:
            if refusal.status in (401, 403, 404):
                await peer.acquire()
            raise
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise Refused(413, f"a report may have at most {MAX_BODY_BYTES} bytes") from None
        now = self._clock()
        try:
            report = ProgressReport.model_validate_json(body)
            fields = reported(report, key.kind, attempt.index, now)
        except ValidationError as error:
            raise Refused(400, first_fault(error)) from None
        last = report.exit is not None
        if not last:
            _check(self._reporters(key), JOB_RATE)
            await self._reporters(key).acquire()
        await self._writer.write(key, attempt.uid, attempt.index, fields, now, at_once=last)
        suspended = raw["spec"].get("suspend", False)
        return ProgressReply(desired=Desired.STOP if suspended else Desired.CONTINUE)

    async def _authenticate(self, request: web.Request) -> tuple[JobKey, Attempt, Object]:
        """The job and attempt that the request speaks for; Refused where its token is not that very attempt's."""
        path = request.match_info
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            raise Refused(401, "a bearer token is needed")
        if path["plural"] not in PLURALS:
            raise Refused(404, "there is no such kind")
        key, index = JobKey(PLURALS[path["plural"]], path["namespace"], path["name"]), int(path["attempt"])
        raw = await self._jobs.get(key)
        if raw is None or index > newest_attempt(raw.get("status") or {}):
            raw = await self._jobs.get(key, fresh=True)
        if raw is None:
            raise Refused(404, "there is no such job")
        attempt = Attempt(key, raw["metadata"]["uid"], read_job(raw, key.kind), index, ())
        try:
            user = await self._authenticator.user(token, attempt.audience)
        except Unauthenticated as error:
            raise Refused(401, str(error)) from None
        if user != f"system:serviceaccount:{key.namespace}:{service_account(attempt)}":
            raise Refused(403, "the token belongs to another ServiceAccount than the job's")
        newest = newest_attempt(raw.get("status") or {})
        if index < newest:
            raise Refused(410, f"attempt {index} is over")
        if index > newest:
            raise Refused(409, f"attempt {index} has not begun, as far as status tells")
        return key, attempt, raw


def reported(report: ProgressReport, kind: str, attempt: int, now: datetime) -> Object:
    """The members of status that a report sets, with URIs as they are outside of pods."""
    outside: Object = globalise(reports.reported(report, kind, attempt, now))
    return outside


def _check(limiter: AsyncLimiter, rate: tuple[int, float]) -> None:
    if not limiter.has_capacity():
        raise Refused(429, f"at most {rate[0]} in {rate[1]:.0f} seconds", rate[1] / rate[0])
