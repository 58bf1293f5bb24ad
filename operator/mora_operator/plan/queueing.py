"""Kueue's Workloads: what an attempt's RayJob waits for. We only read them; admission is Kueue's alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mora_jobs.api import ConditionStatus, ConditionType

from .conditions import Finding, clip


@dataclass(frozen=True, slots=True)
class Workload:
    """The part of a Workload that we show. `rayjob_uid` is its owner's."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    rayjob_uid: str
    queue: str
    reserved: bool
    reason: str
    message: str


def read(raw: Mapping[str, Any]) -> Workload | None:
    """The Workload of a RayJob; None for another kind's."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    owner = next((each for each in metadata.get("ownerReferences", []) if each["kind"] == "RayJob"), None)
    if owner is None:
        return None
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    reserved = conditions.get("QuotaReserved", {})
    told = _told(conditions)
    return Workload(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        rayjob_uid=owner["uid"],
        queue=(raw.get("spec") or {}).get("queueName", ""),
        reserved=reserved.get("status") == "True",
        reason=told.get("reason") or "Pending",
        message=clip(told.get("message", "")),
    )


def _told(conditions: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The condition that explains most: why it was put out, why it has no quota, or which checks it waits for."""
    for kind in ("Evicted", "Admitted", "QuotaReserved"):
        condition = conditions.get(kind, {})
        if (condition.get("status") == "True") == (kind == "Evicted") and condition:
            return condition
    return conditions.get("QuotaReserved", {})


def finding(workload: Workload | None, queue: str) -> Finding:
    """The condition QuotaReserved of a job; `queue` is the one that it names, or empty."""
    kind = ConditionType.QUOTA_RESERVED
    if workload is None:
        return Finding(kind, ConditionStatus.UNKNOWN, "NotQueued" if not queue else "WorkloadMissing")
    status = ConditionStatus.TRUE if workload.reserved else ConditionStatus.FALSE
    return Finding(kind, status, workload.reason, "" if workload.reserved else workload.message)


def shown(workload: Workload) -> dict[str, str]:
    """status.queue."""
    return {"workloadName": workload.name, "localQueue": workload.queue, "reason": workload.reason}
