"""The operator put together: store, queue, workers, the progress endpoint and the health server. Knows nothing of kopf."""

import asyncio
import logging
from datetime import UTC, datetime

from aiohttp import web

from . import certificate
from .health import health_application
from .kube import Conflict, Kube, KubeError, NotFound, load_configuration
from .metrics import Metrics
from .progress import ProgressEndpoint
from .reconciler import NameTaken, Reconciler
from .resources import JOBS, MANAGED_BY, MANAGED_BY_LABEL, RAY_JOBS, JobKey, Object
from .settings import Settings
from .store import Store
from .workqueue import ShutDown, WorkQueue

log = logging.getLogger(__name__)
SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
PROGRESS_WRITERS = 4
WAIT_FOR_KINDS_SECONDS = 10.0


class Application:
    """Everything that lives as long as the process. Watch events come in by the `saw_` methods."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store()
        self.queue: WorkQueue[JobKey] = WorkQueue()
        self.metrics = Metrics()
        self.metrics.watch(depth=lambda: len(self.queue), jobs=lambda: len(self.store))
        self._ready = False
        self._runners: list[web.AppRunner] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Serve health, fill the store, then begin to work. Returns when jobs are being reconciled."""
        await self._serve(
            health_application(self.metrics, self.queue.oldest_wait, lambda: self._ready), self.settings.health_port
        )
        self._kube = Kube(await load_configuration(), self.metrics.request)
        await self._fill_store()
        now = datetime.now(UTC)
        own = certificate.make(self.settings.progress_host, now)
        self.progress = ProgressEndpoint(self._kube, self.store, self.settings, clock, self.metrics.report)
        await self._serve(self.progress.application(), self.settings.progress_port, own)
        self._reconciler = Reconciler(self._kube, self.store, self.settings, own.authority, clock)
        works = [self._work() for _ in range(self.settings.workers)]
        works += [self.progress.work() for _ in range(PROGRESS_WRITERS)]
        self._tasks = [asyncio.create_task(work) for work in works]
        self._ready = True
        log.info("ready, %d jobs", len(self.store))

    async def stop(self) -> None:
        """Finish what is being done, write the last progress, and let go of everything."""
        self._ready = False
        for runner in reversed(self._runners):
            await runner.cleanup()
        self.queue.close()
        if self._tasks:
            await self.progress.close()
            await asyncio.wait(self._tasks, timeout=10)
            for task in self._tasks:
                task.cancel()
            await self._kube.close()

    # ---------------------------------------------------------------- events
    def saw_job(self, kind: str, raw: Object, deleted: bool) -> None:
        keys = self.store.drop_job(raw, kind) if deleted else self.store.put_job(raw, kind)
        for key in keys:
            self.queue.add(key)

    def saw_rayjob(self, raw: Object, deleted: bool) -> None:
        key = self.store.drop_rayjob(raw) if deleted else self.store.put_rayjob(raw)
        if key is not None:
            self.queue.add(key)

    # ---------------------------------------------------------------- inside
    async def _fill_store(self) -> None:
        """Read all RayJobs of ours and all jobs, before any is acted upon: a RayJob not seen yet would be made twice."""
        while True:
            try:
                for namespace in self.settings.namespaces or (None,):
                    async for raw in self._kube.list_all(RAY_JOBS, namespace, SELECTOR):
                        self.store.put_rayjob(raw)
                    for kind, resource in JOBS.items():
                        async for raw in self._kube.list_all(resource, namespace):
                            self.store.put_job(raw, kind)
                return
            except NotFound as error:
                log.warning("a kind is missing, is its CRD installed? %s", error)
            except KubeError as error:
                log.warning("jobs cannot be read yet: %s", error)
            await asyncio.sleep(WAIT_FOR_KINDS_SECONDS)

    async def _work(self) -> None:
        """Reconcile one job after the other. Whatever goes wrong with one of them, the next one's turn comes."""
        while True:
            try:
                key, waited = await self.queue.get()
            except ShutDown:
                return
            self.metrics.latency.observe(waited)
            try:
                with self.metrics.duration.time():
                    again = await self._reconciler.reconcile(key)
            except Exception as error:
                self._failed(key, error)
            else:
                self.metrics.reconciled.labels("done").inc()
                self.queue.forget(key)
                if again is not None:
                    self.queue.add_after(key, again)
            finally:
                self.queue.done(key)

    def _failed(self, key: JobKey, error: Exception) -> None:
        retry_after = error.retry_after if isinstance(error, KubeError) else 0.0
        delay = self.queue.add_failed(key, retry_after)
        self.metrics.reconciled.labels(type(error).__name__).inc()
        if isinstance(error, Conflict):
            log.debug("changed meanwhile, looking again in %.1f s", delay, extra={"job": str(key)})
        elif isinstance(error, KubeError | NameTaken):
            log.warning("%s; again in %.1f s", error, delay, extra={"job": str(key)})
        else:
            log.error("again in %.1f s", delay, exc_info=error, extra={"job": str(key)})

    async def _serve(self, app: web.Application, port: int, own: certificate.Certificate | None = None) -> None:
        runner = web.AppRunner(app)
        await runner.setup()
        self._runners.append(runner)
        context = own.server_context() if own is not None else None
        await web.TCPSite(runner, port=port, ssl_context=context).start()


def clock() -> datetime:
    return datetime.now(UTC)
