"""Which of the replicas reconciles: the one that holds the Lease. The official client's election, and a fence around it.

A Lease does not fence: a leader that was stopped (SIGSTOP, a paused machine) and goes on believes for a moment that it
still leads. So whoever writes asks `holds()` first, which compares the last renewal with a clock that went on meanwhile;
what slips through all the same is refused by the API server, because it names the version that it was decided on.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.baselock import BaseLock

from ..resources import LEASES, Object
from .client import Kube, KubeError, NotFound, Transient

LEASE_SECONDS = 12
RENEW_SECONDS = 8
RETRY_SECONDS = 2
FENCE_SECONDS = 10.0
REQUEST_SECONDS = 3.0


class Lease(BaseLock):
    """One replica's claim to lead. `lost` is set when another replica has taken over, or may have.

    The client's own LeaseLock does not work in its version 37 (it sends a flag that its models refuse), and lets a
    broken connection end the election for ever.
    """

    def __init__(self, kube: Kube, name: str, namespace: str, instance: str) -> None:
        super().__init__(name, namespace, instance)
        self.lost = asyncio.Event()
        self._kube = kube
        self._version = ""
        self._renewed: float | None = None

    def holds(self) -> bool:
        """Whether this replica leads, and nobody else can have taken over yet."""
        fresh = self._renewed is not None and time.monotonic() - self._renewed < FENCE_SECONDS
        return fresh and not self.lost.is_set()

    async def elect(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait until this replica leads, run `lead` beside renewing, and return when the lease could not be renewed."""

        async def stop() -> None:
            self.lost.set()

        await LeaderElection(Config(self, LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, lead, stop)).run()

    async def release(self) -> None:
        """Let another replica lead at once. Where this fails they wait until the lease is over, as after a crash."""
        if self.holds():
            await self._claim(self._patch({"holderIdentity": None}))
        self._renewed = None

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        """The record as it stands. Errors are answers too: the election tries again until its time is over."""
        try:
            found = await _bounded(self._kube.get(LEASES, namespace, name))
        except NotFound as error:
            return False, ApiException(status=404, reason=error.message, body=json.dumps({"code": 404}))
        except KubeError as error:
            return False, ApiException(status=error.status, reason=str(error))
        self._version, spec = found["metadata"]["resourceVersion"], found.get("spec") or {}
        holder = spec.get("holderIdentity")
        if self._renewed is not None and holder != self.identity:
            self.lost.set()
            return False, ApiException(status=409, reason=f"{holder} leads")
        times = spec.get("acquireTime"), spec.get("renewTime")
        return True, LeaderElectionRecord(holder, str(spec.get("leaseDurationSeconds")), *times)

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        body: Object = {"apiVersion": LEASES.api_version, "kind": LEASES.kind}
        body |= {"metadata": {"name": name, "namespace": namespace}, "spec": _spec(election_record)}
        return await self._claim(self._kube.create(LEASES, namespace, body))

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        return await self._claim(self._patch(_spec(updated_record)))

    async def _patch(self, spec: Object) -> Object:
        """Only onto the version that was read: of two replicas that claim it at once, one is refused."""
        body = {"metadata": {"resourceVersion": self._version}, "spec": spec}
        return await self._kube.patch(LEASES, self.namespace, self.name, body)

    async def _claim(self, request: Awaitable[Object]) -> bool:
        begun = time.monotonic()
        try:
            written = await _bounded(request)
        except KubeError:
            return False
        self._version, self._renewed = written["metadata"]["resourceVersion"], begun
        return True


def _spec(record: LeaderElectionRecord) -> Object:
    """acquireTime is the election's own text where it kept it, else now: it counts in local time without a zone."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    acquired = record.acquire_time if str(record.acquire_time).endswith("Z") else now
    return {
        "holderIdentity": record.holder_identity,
        "leaseDurationSeconds": LEASE_SECONDS,
        "acquireTime": acquired,
        "renewTime": now,
    }


async def _bounded(request: Awaitable[Object]) -> Object:
    """The answer within its time: a request that hangs for longer than the lease lasts is no use."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return await request
    except TimeoutError as error:
        raise Transient(0, "Timeout", f"no answer within {REQUEST_SECONDS} s") from error
