"""Events on a job, for `kubectl describe`: one for each thing that it comes to."""

import hashlib
import logging
import socket
from datetime import datetime
from typing import Any

from mora_jobs.api import Phase

from ..plan.conditions import clip
from ..resources import EVENTS, JobKey, Object
from .client import AlreadyExists, Kube, KubeError

log = logging.getLogger(__name__)
CONTROLLER = "mora.dev/operator"


class Recorder:
    """Writes events. That one is lost is no harm: what counts stands in the conditions."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._instance = socket.gethostname()

    async def record(self, key: JobKey, uid: str, status: Object, now: datetime) -> None:
        """Tell what the status says, if nobody has told it before."""
        ready = condition(status, "Ready")
        assert ready is not None, "every status of ours has it"
        stalled = any(each["type"] == "Stalled" and each["status"] == "True" for each in status["conditions"])
        bad = stalled or status.get("phase") == Phase.RETRYING
        body = event(key, uid, ready, (status.get("attempts") or {}).get("current", 0), now, self._instance)
        body["type"] = "Warning" if bad else "Normal"
        try:
            await self._kube.create(EVENTS, key.namespace, body)
        except AlreadyExists:
            pass
        except KubeError as error:
            log.debug("no event: %s", error, extra={"job": str(key)})


def ready_reason(status: Object) -> str | None:
    """Why a job is Ready or is not: what it has come to, in one word."""
    ready = condition(status, "Ready")
    return ready["reason"] if ready is not None else None


def condition(status: Object, kind: str) -> Object | None:
    return next((each for each in status.get("conditions", []) if each["type"] == kind), None)


def event(key: JobKey, uid: str, ready: Object, attempt: int, now: datetime, instance: str) -> dict[str, Any]:
    """The event for what `ready` says of an attempt. Its name is made of that, so that it is written once."""
    what = f"{uid}/{ready['reason']}/{attempt}/{ready['observedGeneration']}"
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
        "reason": ready["reason"],
        "note": clip(ready.get("message") or ready["reason"]),
        "action": "Reconcile",
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
    }
