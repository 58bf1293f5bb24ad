"""Level-triggered: looks at what a job is now, asks plan() what to do, does it, and writes the status once."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from mora_jobs.api import KINDS, Job, Phase
from mora_jobs.api.crosscheck import KUEUE_QUEUE

from .kube.client import AlreadyExists, Conflict, Denied, Invalid, Kube, NotFound
from .kube.events import Recorder, ready_reason
from .kube.inspection import LOOK_SECONDS, Inspector
from .plan.plan import Plan, plan
from .plan.rayjobs import RayJob, Stage
from .plan.status import basics, changes, stalled
from .plan.verdicts import Verdict
from .plan.view import Observed, is_finished, is_recorded, newest_attempt
from .render.objects import Attempt, config_map, render
from .render.rayjob_schema import RayJobSchema, UnsupportedKubeRay
from .resources import CONFIG_MAPS, RAY_JOBS, JobKey, Object, Resource, attempt_name
from .settings import Settings
from .store import Store
from .telemetry.metrics import Metrics

log = logging.getLogger(__name__)
DELETION_SECONDS = 5.0  # a RayJob goes within seconds, and the event that tells so may be lost


class NotYetGone(Exception):
    """An object of a deleted job of the same name, or of its RayJob: the garbage collector takes it away."""


class NameTaken(Exception):
    """An object that the job needs to create exists and belongs to somebody else."""


class KubeRayMissing(Exception):
    """The cluster has no RayJobs."""


REASONS = {
    NameTaken: "NameTaken",
    KubeRayMissing: "KubeRayNotInstalled",
    UnsupportedKubeRay: "UnsupportedKubeRayVersion",
}


class Reconciler:
    """Brings one job at a time forward. `schema` is what the installed KubeRay knows; None where there is none."""

    def __init__(
        self, kube: Kube, store: Store, settings: Settings, metrics: Metrics, clock: Callable[[], datetime]
    ) -> None:
        self._kube = kube
        self._store = store
        self._recorder = Recorder(kube)
        self._inspector = Inspector(kube)
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self.schema: RayJobSchema | None = None
        self._authorities = ""
        # Attempts whose ConfigMap is known to hold these authorities: they change with every replica that comes or goes.
        self._informed: dict[JobKey, tuple[int, str]] = {}
        self._verified: dict[JobKey, float] = {}

    def trust(self, authorities: str) -> bool:
        """The certificate authorities (PEM) that jobs are to know. Tells whether they are others than before."""
        changed = authorities != self._authorities
        self._authorities = authorities
        return changed

    async def reconcile(self, key: JobKey) -> float | None:
        """Do what is to be done about a job now. Returns the seconds after which to look again, if nothing happens."""
        raw = self._store.job(key)
        if raw is None:
            self._informed.pop(key, None)
            self._verified.pop(key, None)
            return None
        now = self._clock()
        await self._verify(key, raw)
        observed = await self._observe(key, raw, now)
        try:
            job = read_job(raw, key.kind)
            referred = tuple(read_job(other, other_key.kind) for other_key, other in observed.references.jobs)
        except ValidationError as error:
            await self._write(key, raw, stalled(observed, now, "InvalidSpec", first_fault(error)))
            return None
        observed = replace(observed, referred=referred)
        todo = plan(job, observed, self._settings, now)
        if todo.expire:
            log.info("deleted: its time after the end is over", extra={"job": str(key)})
            metadata = raw["metadata"]
            await self._kube.delete(
                key.resource, key.namespace, key.name, metadata["uid"], metadata["resourceVersion"]
            )
            return None
        try:
            await self._act(key, raw, job, todo, observed)
        except NotYetGone as error:
            # Not Stalled: Flux and Helm would give up on a job that only waits for the garbage collector.
            verdict = Verdict(Phase.PROVISIONING, "WaitingForDeletion", str(error), reconciling=True)
            await self._write(key, raw, basics(observed, verdict, now))
            return DELETION_SECONDS
        except (NameTaken, KubeRayMissing, UnsupportedKubeRay, Invalid, Denied) as error:
            reason = REASONS.get(type(error), "ObjectsRefused")
            await self._write(key, raw, stalled(observed, now, reason, str(error)))
            raise
        if todo.start is not None:
            # The RayJob is there now: that it was made, and what it waits for, is one write instead of two.
            observed = replace(await self._observe(key, raw, now), referred=referred)
            todo = plan(job, observed, self._settings, now)
        if todo.status is not None:
            await self._write(key, raw, todo.status)
        waits = [seconds for seconds in (todo.again,) if seconds is not None]
        if observed.rayjobs and not is_finished(observed.status):
            waits.append(self._settings.resync_seconds)
        if any(each.stage is Stage.PROVISIONING for each in observed.rayjobs):
            waits.append(LOOK_SECONDS)
        if todo.stop or any(each.deleting for each in observed.rayjobs):
            waits.append(DELETION_SECONDS)
        return min(waits, default=None)

    async def _observe(self, key: JobKey, raw: Object, now: datetime) -> Observed:
        metadata, status = raw["metadata"], raw.get("status") or {}
        rayjobs = self._store.rayjobs(key, metadata["uid"])
        newest = max(rayjobs, key=lambda rayjob: rayjob.attempt, default=None)
        # Pods tell why an attempt failed until that is recorded; while the next one is waited for, nobody asks.
        judged = newest is None or is_finished(status) or is_recorded(status, newest.attempt)
        return Observed(
            status=status,
            generation=metadata["generation"],
            deleting="deletionTimestamp" in metadata,
            rayjobs=rayjobs,
            references=self._store.references(key),
            queue=metadata.get("labels", {}).get(KUEUE_QUEUE, ""),
            workload=self._store.workload(newest.uid) if newest is not None else None,
            obstacle=await self._inspector.obstacle(newest, now),
            out_of_memory="" if judged else await self._inspector.out_of_memory(newest),
        )

    async def _act(self, key: JobKey, raw: Object, job: Job, plan: Plan, observed: Observed) -> None:
        uid = raw["metadata"]["uid"]
        for rayjob in plan.stop:
            log.info("deleting RayJob %s", rayjob.name, extra={"job": str(key)})
            await self._delete(key, rayjob)
        index = plan.start if plan.start is not None else plan.keep
        if index is None or (plan.start is None and self._informed.get(key) == (index, self._authorities)):
            return
        attempt = Attempt(key, uid, job, index, observed.referred)
        if plan.start is not None:
            if self.schema is None:
                raise KubeRayMissing("the cluster has no RayJobs: install KubeRay 1.5.1 or newer")
            log.info("starting attempt %s", attempt.name, extra={"job": str(key)})
            for resource, body in render(attempt, self._settings, self.schema):
                present = await self._ensure(resource, body, uid)
            self._store.put_rayjob(present)  # the last of them
            rayjob_uid = present["metadata"]["uid"]
        else:
            rayjob_uid = next(rayjob.uid for rayjob in observed.rayjobs if rayjob.attempt == index)
        authorities = self._authorities
        await self._ensure(CONFIG_MAPS, config_map(attempt, authorities, rayjob_uid), rayjob_uid)
        self._informed[key] = (index, authorities)

    async def _ensure(self, resource: Resource, body: Object, owner: str) -> Object:
        """Create an object, or find it there from an earlier try. ConfigMaps are brought up to date, others never are."""
        name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
        try:
            return await self._kube.create(resource, namespace, body)
        except AlreadyExists:
            present = await self._kube.get(resource, namespace, name)
        owners = present["metadata"].get("ownerReferences", [])
        if owner not in [reference["uid"] for reference in owners]:
            ours = body["metadata"]["ownerReferences"][0]
            if any((each["kind"], each["name"]) == (ours["kind"], ours["name"]) for each in owners):
                raise NotYetGone(
                    f"{resource.kind} {name} of an earlier {ours['kind']} {ours['name']} is being deleted"
                )
            raise NameTaken(f"{resource.kind} {name} exists and does not belong to this job")
        if resource is CONFIG_MAPS and present.get("data") != body["data"]:
            version = {"resourceVersion": present["metadata"]["resourceVersion"]}
            return await self._kube.patch(resource, namespace, name, {"metadata": version, "data": body["data"]})
        return present

    async def _delete(self, key: JobKey, rayjob: RayJob) -> None:
        try:
            await self._kube.delete(RAY_JOBS, rayjob.namespace, rayjob.name, rayjob.uid, rayjob.resource_version)
        except NotFound:
            self._store.forget_rayjob(key, rayjob.name, rayjob.uid)

    async def _verify(self, key: JobKey, raw: Object) -> None:
        """Read the current RayJob where the store may be behind: it seems to be gone, or was not heard of for long."""
        status = raw.get("status") or {}
        index = newest_attempt(status)
        known = {rayjob.attempt: rayjob for rayjob in self._store.rayjobs(key, raw["metadata"]["uid"])}
        rayjob = known.get(index)
        if index == 0 or is_finished(status) or (rayjob is None and status.get("phase") == "Suspended"):
            return
        now = asyncio.get_running_loop().time()
        wait = DELETION_SECONDS if rayjob is not None and rayjob.deleting else self._settings.resync_seconds
        if now - self._verified.setdefault(key, now) < wait and rayjob is not None:
            return
        self._verified[key] = now
        try:
            self._store.put_rayjob(await self._kube.get(RAY_JOBS, key.namespace, attempt_name(key.name, index)))
        except NotFound:
            if rayjob is not None:
                self._store.forget_rayjob(key, rayjob.name, rayjob.uid)

    async def _write(self, key: JobKey, raw: Object, status: dict[str, Any]) -> None:
        """The one status write: only what differs, and only if the job is still the one that was decided about."""
        before = raw.get("status") or {}
        changed = changes(before, status)
        if not changed:
            return
        body = {"metadata": {"resourceVersion": raw["metadata"]["resourceVersion"]}, "status": changed}
        try:
            written = await self._kube.patch_status(key.resource, key.namespace, key.name, body)
        except NotFound:
            self._store.drop_job(key, raw["metadata"]["uid"])
            return
        except Conflict:
            # The event that tells what has changed may have been lost, or its watch be broken for a minute.
            self._store.put_job(await self._kube.get(key.resource, key.namespace, key.name), key.kind)
            raise
        self._store.put_job(written, key.kind)
        self._metrics.changed(before, written["status"])
        if ready_reason(before) != ready_reason(written["status"]):
            log.info("%s: %s", status.get("phase"), ready_reason(status), extra={"job": str(key)})
        await self._recorder.record(key, raw["metadata"]["uid"], before, written["status"], self._clock())


def read_job(raw: Object, kind: str) -> Job:
    """The job as the API types see it. Its status is left out: it may have been written by another version of us."""
    members = {name: value for name, value in raw.items() if name != "status"}
    return KINDS[kind].model_validate(members)


def first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
