"""Experiments in a namespace: followed to their end, and what they have made there."""

import json

from experiments import SECONDS
from kubectl import Namespace, Object
from statuses import ended

OURS = "rolloutjobs,rewritejobs,alignmentjobs"
MADE = "rayjobs,rayclusters,pods,services,configmaps,serviceaccounts,networkpolicies,jobs,secrets,roles,rolebindings,leases"


def complete(namespace: Namespace, jobs: list[Object]) -> list[Object]:
    """Follow the chain to its end; every job's status."""
    kind, name = jobs[-1]["kind"], jobs[-1]["metadata"]["name"]
    namespace.await_job(kind, name, 4 * SECONDS, until=lambda status: ended(status) or _failed(namespace))
    statuses = [namespace.get(job["kind"], job["metadata"]["name"])["status"] for job in jobs]
    assert [status["phase"] for status in statuses] == ["Complete"] * 3, json.dumps(statuses, indent=1)
    return statuses


def names(namespace: Namespace, kinds: str) -> set[str]:
    return set(namespace.kubectl("get", kinds, "-o", "name").split())


def await_only(namespace: Namespace, before: set[str], seconds: float) -> None:
    """Until of what operator and KubeRay make nothing is there but what was before."""
    namespace.await_that(lambda: names(namespace, MADE) == before, seconds, lambda: names(namespace, MADE) - before)


def _failed(namespace: Namespace) -> bool:
    return any(job.get("status", {}).get("phase") == "Failed" for job in namespace.listed(OURS))
