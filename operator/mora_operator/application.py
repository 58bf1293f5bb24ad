"""What every replica does, the leading one too: it serves health, and the endpoint that drivers report to."""

import asyncio
import logging
from ssl import SSLContext

from aiohttp import web

from .controller import Controller
from .kube.client import Kube, KubeError, load_configuration
from .kube.lease import Lease
from .progress.authorities import Authorities
from .progress.endpoint import ProgressEndpoint
from .progress.rotation import Rotation
from .settings import Settings
from .telemetry.health import health_application
from .telemetry.metrics import Metrics
from .times import clock

log = logging.getLogger(__name__)
TICK_SECONDS = 10.0  # so long a new replica's authority is unknown to jobs, besides the kubelet's own delay
START_RETRY_SECONDS = 5.0


class Application:
    """Everything that lives as long as the process. `controller` works while this replica leads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self._ready = False
        self._runners: list[web.AppRunner] = []
        self._connections: list[Kube] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Begin to serve. Returns when reports are accepted."""
        settings, configuration = self.settings, await load_configuration()
        kube = Kube(configuration, self.metrics.request)
        self.lease = Lease(kube, settings.installation, settings.operator_namespace, settings.instance)
        fenced = Kube(configuration, self.metrics.request, self.lease.holds)
        self._connections = [kube, fenced]
        self.controller = Controller(fenced, settings, self.metrics)
        await self._serve(
            health_application(self.metrics, self.controller.queue.oldest_wait, lambda: self._ready),
            settings.health_port,
        )
        self.metrics.leading(self.lease.holds)
        authorities = Authorities(
            kube, f"{settings.installation}-authorities", settings.operator_namespace, settings.instance
        )
        self._rotation = Rotation(settings.progress_host, authorities, clock())
        self.progress = ProgressEndpoint(kube, settings, clock, self.metrics.report)
        while not await self._trust():  # without its namespace or the right to it nothing can be served
            await asyncio.sleep(START_RETRY_SECONDS)
        await self._serve(self.progress.application(), settings.progress_port, self._rotation.context)
        self._tasks = [asyncio.create_task(work) for work in (*self.progress.works(), self._rotate())]
        self._ready = True
        log.info("ready, %s", self.lease.identity)

    async def close(self) -> None:
        """Write the last progress, give the lease away, and let go of everything."""
        self._ready = False
        await self._stop_serving()
        await self.controller.stop()
        await self.progress.close()
        for task in self._tasks:
            task.cancel()
        await self.lease.release()
        await self._disconnect()

    async def abandon(self) -> None:
        """Let go of what `open` had got to when it was cancelled."""
        await self._stop_serving()
        await self._disconnect()

    async def _stop_serving(self) -> None:
        for runner in reversed(self._runners):
            await runner.cleanup()

    async def _disconnect(self) -> None:
        for kube in self._connections:
            await kube.close()

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self._trust()

    async def _trust(self) -> bool:
        """Publish this replica's authority, and have jobs know all that are published. False where that failed."""
        try:
            self.controller.trust(await self._rotation.tick(clock()))
        except KubeError as error:
            log.warning("the certificate authorities cannot be published and read: %s", error)
            return False
        return True

    async def _serve(self, app: web.Application, port: int, context: SSLContext | None = None) -> None:
        runner = web.AppRunner(app)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, port=port, ssl_context=context).start()
