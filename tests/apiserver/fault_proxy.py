"""A fault injector in front of the real kube-apiserver: a reverse proxy that records, delays, refuses and cuts.

It invents no answers but refusals: whatever succeeds was answered by the real server. One proxy serves one client (an
operator), so that two replicas are told apart, and can be cut off, by their proxies.
"""

import asyncio
import contextlib
import itertools
import json
import random
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Self

import aiohttp
from aiohttp import web
from control_plane import Cluster
from yarl import URL

HOP_BY_HOP = ("host", "content-length", "transfer-encoding", "connection", "accept-encoding", "content-encoding")


class Fault(StrEnum):
    """What can go wrong with a request, or with a watch that is open."""

    CONFLICT = "409 Conflict"
    GONE = "410 Gone"
    BUSY = "429 with Retry-After"
    BROKEN = "500"
    LATE = "504 after it took place"
    RESET = "reset before it took place"
    RESET_LATE = "reset after it took place"
    SLOW = "latency"
    WATCH_GONE = "410 within a watch"
    WATCH_CUT = "watch cut"
    WATCH_SLOW = "watch event held up"


# Verbs that a fault can hit, as in RBAC rules; for the WATCH_ ones each event of a watch is asked about.
READS, WRITES = frozenset({"get", "list", "watch"}), frozenset({"create", "patch", "update", "delete"})
HITS: Mapping[Fault, frozenset[str]] = {
    Fault.CONFLICT: frozenset({"patch", "update", "delete"}),
    Fault.GONE: frozenset({"list", "watch"}),
    Fault.BUSY: READS | WRITES,
    Fault.BROKEN: READS | WRITES,
    Fault.LATE: WRITES,
    Fault.RESET: READS | WRITES,
    Fault.RESET_LATE: WRITES,
    Fault.SLOW: READS | WRITES,
}
ON_EVENTS = (Fault.WATCH_GONE, Fault.WATCH_CUT, Fault.WATCH_SLOW)
REFUSALS = {
    Fault.CONFLICT: (409, "Conflict"),
    Fault.GONE: (410, "Expired"),
    Fault.WATCH_GONE: (410, "Expired"),
    Fault.BUSY: (429, "TooManyRequests"),
    Fault.BROKEN: (500, "InternalError"),
    Fault.LATE: (504, "Timeout"),
}


@dataclass(frozen=True)
class FaultPlan:
    """Which share of the requests (or events) that a fault can hit it does hit, until there were `limit` faults.

    The n-th request for a path meets the same fault with the same seed, in whatever order requests of other paths come.
    """

    seed: int = 0
    rates: Mapping[Fault, float] = field(default_factory=dict)
    limit: int = sys.maxsize
    most_latency: float = 2.0

    def for_request(self, call: "Call", occurrence: int) -> tuple[Fault | None, float]:
        """A fault, or none, and a number in [0, 1) for what else is left to chance."""
        dice = random.Random(f"{self.seed} {call.verb} {call.path.partition('?')[0]} {occurrence}")
        return self._pick(dice, [fault for fault, verbs in HITS.items() if call.verb in verbs])

    def for_event(self, call: "Call", occurrence: int) -> tuple[Fault | None, float]:
        dice = random.Random(f"{self.seed} {call.path.partition('?')[0]} event {occurrence}")
        return self._pick(dice, list(ON_EVENTS))

    def latency(self, chance: float) -> float:
        """Seconds; most are short, so that a run meets many without lasting for hours."""
        return float(self.most_latency * chance**4)

    def _pick(self, dice: random.Random, faults: list[Fault]) -> tuple[Fault | None, float]:
        drawn, chance = dice.random(), dice.random()
        for fault in faults:
            drawn -= self.rates.get(fault, 0.0)
            if drawn < 0:
                return fault, chance
        return None, chance


@dataclass
class Call:
    """One request. `status` is what the operator was told (0: nothing), `upstream` what the server said."""

    number: int
    verb: str
    path: str
    resource: str  # as in RBAC rules: `rolloutjobs/status`; empty for discovery
    namespace: str
    name: str
    body: Any = None
    status: int = 0
    upstream: int = 0
    fault: Fault | None = None
    at: float = field(default_factory=time.monotonic)

    @property
    def what(self) -> str:
        return f"{self.verb} {self.resource or self.path.partition('?')[0]}"

    @property
    def writes(self) -> bool:
        return self.verb in WRITES


class Moment(Enum):
    """When a trap is sprung. For a watch, the answer is its opening."""

    ARRIVED = "the operator has sent it, the server has not seen it"
    ANSWERED = "the server has answered, the operator does not know it yet"
    DELIVERED = "the operator has been sent the answer"


@dataclass
class Trap:
    """Does something at the n-th request that matches, once. The request waits for `do`, other requests do not."""

    matches: Callable[[Call], bool]
    do: Callable[[], Any]
    moment: Moment
    left: int
    call: Call | None = None
    sprung: threading.Event = field(default_factory=threading.Event)


class FaultProxy:
    """Runs in a thread of its own while it is entered. The operator's kubeconfig names `url` as its server."""

    def __init__(self, cluster: Cluster, plan: FaultPlan | None = None) -> None:
        self._cluster = cluster
        self.plan = plan or FaultPlan()  # may be replaced at any time
        self.calls: list[Call] = []
        self.faults: Counter[Fault] = Counter()
        self.events = 0  # that were delivered in watches, bookmarks and the items of lists not counted
        self.errors: list[str] = []  # of the proxy itself: a test that meets one has tested nothing
        self._unplugged = False
        self._traps: list[Trap] = []
        self._occurrences: Counter[tuple[str, str]] = Counter()
        self._open: dict[int, web.BaseRequest] = {}  # by the call's number
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def trap(
        self, do: Callable[[], Any], matches: Callable[[Call], bool] = lambda call: True, nth: int = 1,
        moment: Moment = Moment.ANSWERED,
    ) -> Trap:  # fmt: skip
        """Do something at the n-th matching request from now on."""
        trap = Trap(matches, do, moment, nth)
        self._traps.append(trap)
        return trap

    def unplug(self) -> None:
        """Cut the operator off: open connections break, new ones are reset."""
        self._unplugged = True
        self._loop.call_soon_threadsafe(lambda: [_reset(request) for request in self._open.values()])

    def plug(self) -> None:
        self._unplugged = False

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    # ---------------------------------------------------------------- in the proxy's thread
    async def _start(self) -> None:
        context = ssl.create_default_context(cafile=str(self._cluster.ca))
        self._upstream = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            read_bufsize=2**22,
        )
        # Cancelled handlers: a watch whose client was killed must not stay open upstream.
        self._runner = web.ServerRunner(web.Server(self._handle, handler_cancellation=True), shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._upstream.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if self._unplugged:
            return _reset(request)
        call = _call(request, body, len(self.calls) + 1)
        self.calls.append(call)
        self._open[call.number] = request
        try:
            await self._spring(call, Moment.ARRIVED)
            self._occurrences[call.verb, call.path] += 1
            fault, chance = self.plan.for_request(call, self._occurrences[call.verb, call.path])
            call.fault = fault if fault and self._admits(fault) else None
            if call.verb == "watch":
                return await self._watch(request, call, chance)
            return await self._pass_on(request, call, body, chance)
        except ConnectionError:  # the operator has gone, or the API server
            return _reset(request)
        except Exception as error:
            self.errors.append(f"{call.what}: {error!r}")
            raise
        finally:
            del self._open[call.number]

    async def _pass_on(self, request: web.BaseRequest, call: Call, body: bytes, chance: float) -> web.StreamResponse:
        if call.fault in (Fault.CONFLICT, Fault.GONE, Fault.BUSY, Fault.BROKEN):
            return await self._deliver(request, call, refusal(call.fault))
        if call.fault is Fault.RESET:
            return _reset(request)
        if call.fault is Fault.SLOW:
            await asyncio.sleep(self.plan.latency(chance))
        # Shielded: what has left the operator takes place, even if the operator dies while it does.
        answer = await asyncio.shield(asyncio.ensure_future(self._ask(request, call, body)))
        await self._spring(call, Moment.ANSWERED)
        if call.fault is Fault.RESET_LATE:
            return _reset(request)
        return await self._deliver(request, call, refusal(call.fault) if call.fault is Fault.LATE else answer)

    async def _ask(self, request: web.BaseRequest, call: Call, body: bytes) -> web.Response:
        target, headers = self._target(request), _kept(request.headers)
        async with self._upstream.request(request.method, target, headers=headers, data=body or None) as answer:
            content = await answer.read()
        call.upstream = answer.status
        return web.Response(status=answer.status, headers=_kept(answer.headers), body=content)

    async def _deliver(self, request: web.BaseRequest, call: Call, answer: web.Response) -> web.StreamResponse:
        call.status = answer.status
        await answer.prepare(request)
        await answer.write_eof()
        await self._spring(call, Moment.DELIVERED)
        return answer

    async def _watch(self, request: web.BaseRequest, call: Call, chance: float) -> web.StreamResponse:
        if call.fault in (Fault.GONE, Fault.BUSY, Fault.BROKEN):
            return await self._deliver(request, call, refusal(call.fault))
        if call.fault is Fault.RESET:
            return _reset(request)
        if call.fault is Fault.SLOW:
            await asyncio.sleep(self.plan.latency(chance))
        async with self._upstream.get(self._target(request), headers=_kept(request.headers)) as answer:
            call.upstream = answer.status
            await self._spring(call, Moment.ANSWERED)
            call.status = answer.status
            stream = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
            stream.enable_chunked_encoding()
            await stream.prepare(request)
            await self._spring(call, Moment.DELIVERED)
            while line := await answer.content.readline():
                if not line.startswith(b'{"type":"BOOKMARK"'):
                    fault = await self._disturb(call)
                    if fault is Fault.WATCH_CUT:
                        return _reset(request) if next(self._coin) else stream
                    if fault is Fault.WATCH_GONE:
                        error = {"type": "ERROR", "object": _status(fault)}
                        await stream.write(json.dumps(error).encode() + b"\n")
                        return stream
                    self.events += 1
                await stream.write(line)
            return stream

    async def _disturb(self, call: Call) -> Fault | None:
        """The fault that the next event of a watch meets; the event itself is lost with the watch."""
        self._occurrences["event", call.path.partition("?")[0]] += 1
        fault, chance = self.plan.for_event(call, self._occurrences["event", call.path.partition("?")[0]])
        if fault is None or not self._admits(fault):
            return None
        if fault is Fault.WATCH_SLOW:
            await asyncio.sleep(self.plan.latency(chance))
        return fault

    _coin = itertools.cycle((True, False))  # watches end in both ways: broken, and as after timeoutSeconds

    def _admits(self, fault: Fault) -> bool:
        if self.faults.total() >= self.plan.limit:
            return False
        self.faults[fault] += 1
        return True

    async def _spring(self, call: Call, moment: Moment) -> None:
        for trap in list(self._traps):
            if trap.moment is moment and trap.matches(call):
                trap.left -= 1
                if trap.left == 0:
                    self._traps.remove(trap)
                    trap.call = call
                    await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._do, trap))

    def _do(self, trap: Trap) -> None:
        try:
            trap.do()
        except Exception as error:
            self.errors.append(f"a trap failed: {error!r}")
        finally:
            trap.sprung.set()

    def _target(self, request: web.BaseRequest) -> URL:
        return URL(self._cluster.url + request.raw_path, encoded=True)


def refusal(fault: Fault) -> web.Response:
    headers = {"Retry-After": "1"} if fault is Fault.BUSY else {}
    return web.json_response(_status(fault), status=REFUSALS[fault][0], headers=headers)


def _status(fault: Fault) -> dict[str, Any]:
    code, reason = REFUSALS[fault]
    status = {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "reason": reason,
    }
    return status | {"message": f"injected: {fault}", "details": {"retryAfterSeconds": 1} if code == 429 else {}}


def _call(request: web.BaseRequest, body: bytes, number: int) -> Call:
    parts = request.path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]  # group and version
    namespace = ""
    if len(parts) > 2 and parts[0] == "namespaces":
        namespace, parts = parts[1], parts[2:]
    plural, name, subresource = (*parts, "", "", "")[:3]
    verb = {"GET": "get", "POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}[request.method]
    if verb == "get" and plural and not name:
        verb = "watch" if "watch" in request.query else "list"
    resource = f"{plural}/{subresource}" if subresource else plural
    return Call(number, verb, request.raw_path, resource, namespace, name, json.loads(body) if body else None)


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """What is passed on. Nothing is compressed on the way: the lines of watches are looked at."""
    kept = {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
    return kept | {"Accept-Encoding": "identity"}


def _reset(request: web.BaseRequest) -> web.Response:
    """Break the connection: the client sees ECONNRESET, not an end."""
    if request.transport is not None:
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        request.transport.abort()
    return web.Response()
