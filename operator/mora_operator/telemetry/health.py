"""/healthz (restart me), /readyz (the store is filled) and /metrics, over plain HTTP inside the cluster."""

from collections.abc import Callable

from aiohttp import web

from .metrics import Metrics

# A key waits this long only if every worker is stuck: requests to the API server time out after 30 seconds.
STUCK_SECONDS = 120.0


def health_application(
    metrics: Metrics, oldest_wait: Callable[[], float], is_ready: Callable[[], bool]
) -> web.Application:
    async def healthz(request: web.Request) -> web.Response:
        waited = oldest_wait()
        return web.Response(text=f"oldest key waits {waited:.1f} s\n", status=200 if waited < STUCK_SECONDS else 500)

    async def readyz(request: web.Request) -> web.Response:
        return web.Response(text="ready\n" if is_ready() else "reading jobs\n", status=200 if is_ready() else 503)

    async def show(request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", show)
    return application
