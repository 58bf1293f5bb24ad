"""Everything that kopf has to do with: watching, logging in, start and end. Its handlers decide nothing.

Only low-level `on.event` handlers are used: they write no annotations and no finalizers, and a missed event costs
nothing, because the reconciler looks at what is and not at what happened. kopf runs on the leading replica only.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any

import kopf
from kubernetes.aio.config import ConfigException

from .application import Application
from .controller import SELECTOR, Controller
from .kube.client import PAGE
from .resources import JOBS, RAY_JOBS, Object, Resource
from .settings import Settings

log = logging.getLogger(__name__)
REQUEST_SECONDS = 30
CONNECT_SECONDS = 5
WATCH_SECONDS = 300
IDLE_SECONDS = 0.1
EXIT_SECONDS = 25  # below the chart's terminationGracePeriodSeconds


class NoEssence(kopf.DiffBaseStorage):
    """kopf copies every object of every event to find out what changed since an annotation was written. None ever is."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing is stored."""


class NoProgress(kopf.ProgressStorage):
    """The same for the progress of handlers, which `on.event` handlers do not have."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing is stored."""

    def purge(self, **_: Any) -> None:
        """Nothing is stored."""

    def touch(self, **_: Any) -> None:
        """Nothing is stored."""

    def clear(self, *, essence: Any) -> Any:
        return essence


def registry_of(controller: Controller) -> kopf.OperatorRegistry:
    """All handlers of the operator."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    def watch(resource: Resource, saw: Callable[[Object, bool], None]) -> None:
        @kopf.on.event(
            group=resource.group, version=resource.version, plural=resource.plural,
            id=f"saw-{resource.plural}", registry=registry,
        )  # fmt: skip
        async def _(type: str | None, body: kopf.Body, **_: Any) -> None:
            saw(dict(body), type == "DELETED")

    def watch_jobs(kind: str, resource: Resource) -> None:
        watch(resource, lambda raw, deleted: controller.saw_job(kind, raw, deleted))

    for kind, resource in JOBS.items():
        watch_jobs(kind, resource)
    watch(RAY_JOBS, controller.saw_rayjob)
    if controller.workloads is not None:
        watch(controller.workloads, controller.saw_workload)
    return registry


def settings_of() -> kopf.OperatorSettings:
    """kopf's settings, each for a reason that was measured."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NoEssence()
    settings.persistence.progress_storage = NoProgress()
    settings.scanning.disabled = True  # no rights on namespaces and CRDs are needed
    settings.watching.chunk_size = PAGE
    settings.watching.server_timeout = WATCH_SECONDS
    # A task for each object lives for so long after its event: at the start that is one for every object there is.
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.watching.label_selectors[RAY_JOBS.group, RAY_JOBS.version, RAY_JOBS.plural] = SELECTOR
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.connect_timeout = CONNECT_SECONDS
    settings.process.ultimate_exiting_timeout = EXIT_SECONDS
    return settings


async def serve(settings: Settings) -> int:
    """One replica: it serves, waits for the lease, leads, and ends when it is told to or another one leads. Exit code."""
    stop = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(kopfs_own)
    for number in (signal.SIGTERM, signal.SIGINT):  # until kopf runs, which has handlers of its own
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    application = Application(settings)
    told = asyncio.create_task(stop.wait())
    opening = asyncio.create_task(application.open())
    await asyncio.wait([told, opening], return_when=asyncio.FIRST_COMPLETED)
    if not opening.done():
        opening.cancel()
        await asyncio.wait([opening])
        await application.abandon()
        return 0
    opening.result()
    lease, controller = application.lease, application.controller
    led: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def lead() -> None:
        well = False
        try:
            await controller.start()
            await watch_until(stop, controller)
            well = True
        except Exception as error:
            log.error("leading ended", exc_info=error)
        finally:
            led.set_result(well)

    election = asyncio.create_task(lease.elect(lead))
    lost, outdated = asyncio.create_task(lease.lost.wait()), asyncio.create_task(controller.outdated.wait())
    ends: list[asyncio.Future[Any]] = [told, lost, outdated, led, election]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if lease.lost.is_set():
        log.warning("another replica leads, or may lead by now: this one ends")
    if election.done() and (mistake := election.exception()) is not None:
        log.error("the election ended", exc_info=mistake)
    well = told.done() or outdated.done() or (led.done() and led.result())
    stop.set()
    if controller.leads:
        await asyncio.wait([led], timeout=EXIT_SECONDS)
    election.cancel()
    await application.close()
    return 0 if well else 1


def kopfs_own(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """kopf 1.45.2 trips over its watches when it ends while they are open: two faults that harm nothing, with tracebacks."""
    if "asyncgen" in context or "request_cancel_callback" in str(context.get("handle")):
        log.debug("kopf: %s", context["message"])
    else:
        loop.default_exception_handler(context)


async def watch_until(stop: asyncio.Event, controller: Controller) -> None:
    """Let kopf feed the controller until `stop` is set or the process gets a signal."""
    stopping = asyncio.create_task(stop.wait())
    watching = asyncio.create_task(
        kopf.operator(
            registry=registry_of(controller),
            settings=settings_of(),
            standalone=True,
            clusterwide=not controller.settings.namespaces,
            namespaces=controller.settings.namespaces,
        )
    )
    await asyncio.wait([stopping, watching], return_when=asyncio.FIRST_COMPLETED)
    if stopping.done():
        # Not by kopf's stop_flag: after a signal it would wait 5 seconds for the task that waits for the flag.
        watching.cancel()
        await asyncio.wait([watching])
    else:
        watching.result()


def run(settings: Settings) -> int:
    """Run the operator until it is told to stop. Returns the exit code of the process."""
    try:
        return asyncio.run(serve(settings))
    except (ConfigException, OSError) as error:
        log.error("the operator cannot start: %s", error)
        return 2
