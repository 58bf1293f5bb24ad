"""Events on a job, for `kubectl describe`: one for each thing that it comes to."""

import hashlib
import logging
import socket
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from mora_jobs.api import ConditionType, Phase

from ..plan.conditions import clip, is_true
from ..plan.view import newest_attempt
from ..resources import EVENTS, JobKey, Object
from .client import AlreadyExists, Kube, KubeError

log = logging.getLogger(__name__)
CONTROLLER = "mora.dev/operator"


class Recorder:
    """Writes events. That one is lost is no harm: what counts stands in the conditions."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._instance = socket.gethostname()

    async def record(self, key: JobKey, uid: str, before: Object, after: Object, now: datetime) -> None:
        """Tell what is new in a status, each thing once."""
        attempt = newest_attempt(after)
        for told, bad in news(before, after):
            body = event(key, uid, told, attempt, now, self._instance)
            body["type"] = "Warning" if bad else "Normal"
            try:
                await self._kube.create(EVENTS, key.namespace, body)
            except AlreadyExists:
                pass
            except KubeError as error:
                log.debug("no event: %s", error, extra={"job": str(key)})


def news(before: Object, after: Object) -> Iterator[tuple[Object, bool]]:
    """Conditions that a user would ask about because of what has changed in them, and whether they tell of trouble."""
    ready = condition(after, ConditionType.READY)
    if ready is not None and ready["reason"] != ready_reason(before):
        stalled = condition(after, ConditionType.STALLED)
        trouble = stalled is not None and stalled["status"] == "True"
        yield ready, trouble or after.get("phase") == Phase.RETRYING
    for kind in (ConditionType.DEGRADED, ConditionType.TRUNCATED):
        if is_true(after, kind) and not is_true(before, kind):
            yield condition(after, kind) or {}, True


def ready_reason(status: Object) -> str | None:
    """Why a job is Ready or is not: what it has come to, in one word."""
    ready = condition(status, ConditionType.READY)
    return ready["reason"] if ready is not None else None


def condition(status: Object, kind: ConditionType) -> Object | None:
    return next((each for each in status.get("conditions", []) if each["type"] == kind.value), None)


def event(key: JobKey, uid: str, told: Object, attempt: int, now: datetime, instance: str) -> dict[str, Any]:
    """The event for what a condition says of an attempt. Its name is made of that, so that it is written once."""
    what = f"{uid}/{told['reason']}/{attempt}/{told['observedGeneration']}"
    resource = key.resource
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {
            "name": f"{key.name}.{hashlib.sha256(what.encode()).hexdigest()[:16]}",
            "namespace": key.namespace,
        },
        "regarding": {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "namespace": key.namespace,
            "name": key.name,
            "uid": uid,
        },
        "reason": told["reason"],
        "note": clip(told.get("message") or told["reason"]),
        "action": "Reconcile",
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
    }
