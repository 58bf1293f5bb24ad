"""Everything that kopf has to do with: watching, logging in, start and end. Its handlers decide nothing.

Only low-level `on.event` handlers are used: they write no annotations and no finalizers, and a missed event costs
nothing, because the reconciler looks at what is and not at what happened.
"""

import asyncio
from typing import Any

import kopf

from .application import SELECTOR, Application
from .resources import JOBS, RAY_JOBS, Resource
from .settings import Settings

PAGE = 500
REQUEST_SECONDS = 30
CONNECT_SECONDS = 5
WATCH_SECONDS = 300
EXIT_SECONDS = 25  # below the chart's terminationGracePeriodSeconds


def registry_of(application: Application) -> kopf.OperatorRegistry:
    """All handlers of the operator."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.startup(registry=registry)
    async def start(**_: Any) -> None:
        await application.start()

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        await application.stop()

    def watch(kind: str, resource: Resource) -> None:
        @kopf.on.event(
            group=resource.group, version=resource.version, plural=resource.plural, id=f"saw-{kind}", registry=registry
        )
        async def saw(type: str | None, body: kopf.Body, **_: Any) -> None:
            application.saw_job(kind, dict(body), deleted=type == "DELETED")

    for kind, resource in JOBS.items():
        watch(kind, resource)

    @kopf.on.event(group=RAY_JOBS.group, version=RAY_JOBS.version, plural=RAY_JOBS.plural, registry=registry)
    async def saw_rayjob(type: str | None, body: kopf.Body, **_: Any) -> None:
        application.saw_rayjob(dict(body), deleted=type == "DELETED")

    return registry


def settings_of() -> kopf.OperatorSettings:
    """kopf's settings, each for a reason that was measured."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True  # no rights on namespaces and CRDs are needed
    settings.watching.chunk_size = PAGE
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.label_selectors[RAY_JOBS.group, RAY_JOBS.version, RAY_JOBS.plural] = SELECTOR
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.connect_timeout = CONNECT_SECONDS
    settings.process.ultimate_exiting_timeout = EXIT_SECONDS
    return settings


def run(settings: Settings) -> None:
    """Run the operator until it is told to stop."""
    application = Application(settings)
    asyncio.run(
        kopf.operator(
            registry=registry_of(application),
            settings=settings_of(),
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
        )
    )
