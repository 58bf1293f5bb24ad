"""What the leading replica does: the store is filled, and one job after the other is reconciled. Knows nothing of kopf."""

import asyncio
import logging

from .kube.client import Conflict, Kube, KubeError, NotFound, NotLeading
from .reconciler import KubeRayMissing, NameTaken, Reconciler
from .render.rayjob_schema import RayJobSchema, UnsupportedKubeRay
from .resources import (
    JOBS,
    KUEUE,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    RAY_JOBS,
    JobKey,
    Object,
    Resource,
    workloads,
)
from .settings import Settings
from .store import Store
from .telemetry.metrics import Metrics
from .times import clock
from .workqueue import ShutDown, WorkQueue

log = logging.getLogger(__name__)
SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
WAIT_FOR_KINDS_SECONDS = 10.0
STOP_SECONDS = 10.0
CONFLICT_SECONDS = 0.5


class Controller:
    """Store, queue and workers. Watch events come in by the `saw_` methods. `kube` writes only while this replica leads."""

    def __init__(self, kube: Kube, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.store = Store()
        self.queue: WorkQueue[JobKey] = WorkQueue()
        self._kube = kube
        self._metrics = metrics
        self._reconciler = Reconciler(kube, self.store, settings, metrics, clock)
        self._tasks: list[asyncio.Task[None]] = []
        self.leads = False
        self.workloads: Resource | None = None
        self.outdated = asyncio.Event()
        metrics.watch(lambda: len(self.queue), self.store)

    async def start(self) -> None:
        """Learn what there is, then begin to work. Returns when jobs are being reconciled."""
        self.leads = True
        await self._learn()
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self.settings.workers)]
        self._tasks.append(asyncio.create_task(self._look_again()))
        log.info("leading, %d jobs", len(self.store))

    async def stop(self) -> None:
        """Finish what is being done."""
        self.queue.close()
        workers = self._tasks[: self.settings.workers]
        if workers:
            await asyncio.wait(workers, timeout=STOP_SECONDS)
        for task in self._tasks:
            task.cancel()

    # ---------------------------------------------------------------- events
    def saw_job(self, kind: str, raw: Object, deleted: bool) -> None:
        metadata = raw["metadata"]
        key = JobKey(kind, metadata["namespace"], metadata["name"])
        for each in self.store.drop_job(key, metadata["uid"]) if deleted else self.store.put_job(raw, kind):
            self.queue.add(each)

    def saw_rayjob(self, raw: Object, deleted: bool) -> None:
        key = self.store.drop_rayjob(raw) if deleted else self.store.put_rayjob(raw)
        if key is not None:
            self.queue.add(key)

    def saw_workload(self, raw: Object, deleted: bool) -> None:
        key = self.store.drop_workload(raw) if deleted else self.store.put_workload(raw)
        if key is not None:
            self.queue.add(key)

    def trust(self, authorities: str) -> None:
        """These are the certificate authorities (PEM) that jobs are to trust when they report."""
        if self._reconciler.trust(authorities):
            for key in self.store.active():
                self.queue.add(key)

    # ---------------------------------------------------------------- inside
    async def _learn(self) -> None:
        """What KubeRay's version knows, and all that there is, before anything is done about it."""
        while True:
            try:
                await self._discover()
                await self._list()
                return
            except NotFound as error:
                log.warning("a kind is missing, is its CRD installed? %s", error)
            except KubeError as error:
                log.warning("jobs cannot be read yet: %s", error)
            await asyncio.sleep(WAIT_FOR_KINDS_SECONDS)

    async def _list(self) -> None:
        """All RayJobs of ours, then all jobs: a RayJob that was not seen yet would be made twice.

        What the store holds and is not among them has gone while a watch was broken, and nobody has told.
        """
        before, seen = self.store.known(), set()
        for namespace in self.settings.namespaces or (None,):
            if self._reconciler.schema is not None:
                async for raw in self._kube.list_all(RAY_JOBS, namespace, SELECTOR):
                    self.store.put_rayjob(raw)
                    seen.add(raw["metadata"]["uid"])
            for kind, resource in JOBS.items():
                async for raw in self._kube.list_all(resource, namespace):
                    self.store.put_job(raw, kind)
                    seen.add(raw["metadata"]["uid"])
        for uid in before.keys() - seen:
            self.store.forget(before[uid], uid)
            self.queue.add(before[uid])

    async def _discover(self) -> None:
        """Which fields KubeRay's version knows, and whether Kueue is there (and may be watched from the start on)."""
        path = f"/openapi/v3/apis/{RAY_JOBS.api_version}"
        try:
            self._reconciler.schema = RayJobSchema.of(await self._kube.document(path))
        except (NotFound, UnsupportedKubeRay) as error:
            log.warning("KubeRay is not installed: %s", error)
            self._reconciler.schema = None
        try:
            group = await self._kube.document(f"/apis/{KUEUE}")
        except NotFound:
            self.workloads = None
        else:
            self.workloads = workloads(group["preferredVersion"]["version"])

    async def _look_again(self) -> None:
        """KubeRay may be upgraded under us, and events get lost. What was not there at start, a new process watches."""
        watched = (self._reconciler.schema is not None, self.workloads)
        while not self.outdated.is_set():
            await asyncio.sleep(self.settings.discovery_seconds if watched[0] else WAIT_FOR_KINDS_SECONDS)
            try:
                await self._discover()
                await self._list()
            except KubeError as error:
                log.warning("the cluster cannot be read: %s", error)
                continue
            if (self._reconciler.schema is not None, self.workloads) != watched:
                log.warning("KubeRay or Kueue were installed or removed: starting anew")
                self.outdated.set()

    async def _work(self) -> None:
        """Reconcile one job after the other. Whatever goes wrong with one of them, the next one's turn comes."""
        while True:
            try:
                key, waited = await self.queue.get()
            except ShutDown:
                return
            self._metrics.latency.observe(waited)
            try:
                with self._metrics.duration.time():
                    again = await self._reconciler.reconcile(key)
            except Exception as error:
                self._failed(key, error)
            else:
                self._metrics.reconciled.labels("done").inc()
                self.queue.forget(key)
                if again is not None:
                    self.queue.add_after(key, again)
            finally:
                self.queue.done(key)

    def _failed(self, key: JobKey, error: Exception) -> None:
        self._metrics.reconciled.labels(type(error).__name__).inc()
        if isinstance(error, Conflict | NotLeading):
            # No failure: something has changed meanwhile, and the event that tells so is on its way.
            self.queue.add_after(key, CONFLICT_SECONDS)
            log.debug("%s; looking again in %.1f s", error, CONFLICT_SECONDS, extra={"job": str(key)})
            return
        delay = self.queue.add_failed(key, error.retry_after if isinstance(error, KubeError) else 0.0)
        if isinstance(error, KubeError | NameTaken | KubeRayMissing | UnsupportedKubeRay):
            log.warning("%s; again in %.1f s", error, delay, extra={"job": str(key)})
        else:
            log.error("again in %.1f s", delay, exc_info=error, extra={"job": str(key)})
