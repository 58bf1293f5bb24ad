"""Level-triggered: looks at what a job is now, asks plan() what to do, does it, and writes the status once."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from mora_jobs.api import KINDS, Job

from .events import Recorder
from .kube import AlreadyExists, Denied, Invalid, Kube, NotFound
from .plan import Plan, plan
from .rayjobs import RayJob, Stage
from .render import Attempt, config_map, render
from .resources import CONFIG_MAPS, RAY_JOBS, JobKey, Object, Resource, attempt_name
from .settings import Settings
from .status import changes, stalled
from .store import Store
from .view import Observed

log = logging.getLogger(__name__)


class NameTaken(Exception):
    """An object that the job needs to create exists and belongs to somebody else."""


class Reconciler:
    """Brings one job at a time forward. `authority` is the progress endpoint's certificate authority, in PEM."""

    def __init__(
        self, kube: Kube, store: Store, settings: Settings, authority: str, clock: Callable[[], datetime]
    ) -> None:
        self._kube = kube
        self._store = store
        self._recorder = Recorder(kube)
        self._settings = settings
        self._authority = authority
        self._clock = clock
        # Attempts whose ConfigMap is known to hold `authority`: an operator that starts anew has a new one.
        self._informed: dict[JobKey, int] = {}
        self._verified: dict[JobKey, float] = {}

    async def reconcile(self, key: JobKey) -> float | None:
        """Do what is to be done about a job now. Returns the seconds after which to look again, if nothing happens."""
        raw = self._store.job(key)
        if raw is None:
            self._informed.pop(key, None)
            self._verified.pop(key, None)
            return None
        now = self._clock()
        try:
            job = read_job(raw, key.kind)
        except ValidationError as error:
            await self._write(key, raw, stalled(self._observe(key, raw), now, "InvalidSpec", first_fault(error)))
            return None
        await self._verify(key, raw)
        observed = self._observe(key, raw)
        todo = plan(job, observed, self._settings, now)
        if todo.expire:
            log.info("deleted: its time after the end is over", extra={"job": str(key)})
            await self._kube.delete(key.resource, key.namespace, key.name, raw["metadata"]["uid"])
            return None
        try:
            await self._act(key, raw, job, todo, observed)
        except (NameTaken, Invalid, Denied) as error:
            reason = "NameTaken" if isinstance(error, NameTaken) else "ObjectsRefused"
            await self._write(key, raw, stalled(observed, now, reason, str(error)))
            raise
        if todo.status is not None:
            await self._write(key, raw, todo.status)
        resync = self._settings.resync_seconds if todo.keep is not None else None
        return min((seconds for seconds in (todo.again, resync) if seconds is not None), default=None)

    def _observe(self, key: JobKey, raw: Object) -> Observed:
        metadata = raw["metadata"]
        return Observed(
            status=raw.get("status") or {},
            generation=metadata["generation"],
            deleting="deletionTimestamp" in metadata,
            rayjobs=self._store.rayjobs(key, metadata["uid"]),
            references=self._store.references(key),
        )

    async def _act(self, key: JobKey, raw: Object, job: Job, plan: Plan, observed: Observed) -> None:
        uid = raw["metadata"]["uid"]
        references = [read_job(other, other_key.kind) for other_key, other in observed.references.jobs]
        for rayjob in plan.stop:
            log.info("deleting RayJob %s", rayjob.name, extra={"job": str(key)})
            await self._delete(key, rayjob)
        if plan.start is not None:
            attempt = Attempt(key, uid, job, plan.start, tuple(references))
            log.info("starting attempt %s", attempt.name, extra={"job": str(key)})
            for resource, body in render(attempt, self._settings, self._authority):
                await self._ensure(resource, body, uid)
            self._informed[key] = plan.start
        elif plan.keep is not None and self._informed.get(key) != plan.keep:
            attempt = Attempt(key, uid, job, plan.keep, tuple(references))
            await self._ensure(CONFIG_MAPS, config_map(attempt, self._authority), uid)
            self._informed[key] = plan.keep

    async def _ensure(self, resource: Resource, body: Object, uid: str) -> None:
        """Create an object, or find it there from an earlier try. ConfigMaps are brought up to date, others never are."""
        name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
        try:
            present = await self._kube.create(resource, namespace, body)
        except AlreadyExists:
            present = await self._kube.get(resource, namespace, name)
            owners = [reference["uid"] for reference in present["metadata"].get("ownerReferences", [])]
            if uid not in owners:
                raise NameTaken(f"{resource.kind} {name} exists and does not belong to this job") from None
            if resource is CONFIG_MAPS and present.get("data") != body["data"]:
                version = {"resourceVersion": present["metadata"]["resourceVersion"]}
                await self._kube.patch(resource, namespace, name, {"metadata": version, "data": body["data"]})
        if resource is RAY_JOBS:
            self._store.put_rayjob(present)

    async def _delete(self, key: JobKey, rayjob: RayJob) -> None:
        try:
            await self._kube.delete(RAY_JOBS, rayjob.namespace, rayjob.name, rayjob.uid)
        except NotFound:
            self._store.forget_rayjob(key, rayjob.name, rayjob.uid)

    async def _verify(self, key: JobKey, raw: Object) -> None:
        """Read the current RayJob where the store may be behind: it seems to be gone, or was not heard of for long."""
        status = raw.get("status") or {}
        index = (status.get("attempts") or {}).get("current", 0)
        known = {rayjob.attempt: rayjob for rayjob in self._store.rayjobs(key, raw["metadata"]["uid"])}
        rayjob = known.get(index)
        if index == 0 or status.get("completionTime") or (rayjob is None and status.get("phase") == "Suspended"):
            return
        now = asyncio.get_running_loop().time()
        fresh = now - self._verified.setdefault(key, now) < self._settings.resync_seconds
        if rayjob is not None and (fresh or rayjob.stage not in (Stage.PROVISIONING, Stage.RUNNING)):
            return
        self._verified[key] = now
        try:
            self._store.put_rayjob(await self._kube.get(RAY_JOBS, key.namespace, attempt_name(key.name, index)))
        except NotFound:
            if rayjob is not None:
                self._store.forget_rayjob(key, rayjob.name, rayjob.uid)

    async def _write(self, key: JobKey, raw: Object, status: dict[str, Any]) -> None:
        """The one status write: only what differs, and only if the job is still the one that was decided about."""
        changed = changes(raw.get("status") or {}, status)
        if not changed:
            return
        body = {"metadata": {"resourceVersion": raw["metadata"]["resourceVersion"]}, "status": changed}
        try:
            written = await self._kube.patch_status(key.resource, key.namespace, key.name, body)
        except NotFound:
            self._store.drop_job(raw, key.kind)
            return
        self._store.put_job(written, key.kind)
        if _ready_reason(raw.get("status") or {}) != _ready_reason(written["status"]):
            log.info("%s: %s", status.get("phase"), _ready_reason(status), extra={"job": str(key)})
            await self._recorder.record(key, raw["metadata"]["uid"], written["status"], self._clock())


def _ready_reason(status: Object) -> str | None:
    reasons = (each["reason"] for each in status.get("conditions", []) if each["type"] == "Ready")
    return next(reasons, None)


def read_job(raw: Object, kind: str) -> Job:
    """The job as the API types see it. Its status is left out: it may have been written by another version of us."""
    members = {name: value for name, value in raw.items() if name != "status"}
    return KINDS[kind].model_validate(members)


def first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
