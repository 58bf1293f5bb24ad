"""The kinds of objects that the operator handles: where they stand in the API, and how it names and labels its own."""

from dataclasses import dataclass
from typing import Any

from mora_jobs.api import GROUP, KINDS, VERSION

Object = dict[str, Any]

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "mora-operator"
KIND_LABEL = f"{GROUP}/kind"
NAME_LABEL = f"{GROUP}/name"
ATTEMPT_LABEL = f"{GROUP}/attempt"


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object by its place in the API."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root, *(("namespaces", namespace) if namespace else ()), self.plural]
        return "/".join([*parts, *(part for part in (name, subresource) if part)])


CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
PODS = Resource("", "v1", "pods", "Pod")
DISCOVERY = Resource("", "", "discovery", "")
RAY_JOBS = Resource("ray.io", "v1", "rayjobs", "RayJob")
KUEUE = "kueue.x-k8s.io"
JOBS = {kind: Resource(GROUP, VERSION, kind.lower() + "s", kind) for kind in KINDS}


@dataclass(frozen=True, slots=True)
class JobKey:
    """One of our jobs: what the work queue holds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"

    @property
    def resource(self) -> Resource:
        return JOBS[self.kind]


def workloads(version: str) -> Resource:
    """Kueue's Workloads, in a version that it serves."""
    return Resource(KUEUE, version, "workloads", "Workload")


def attempt_name(job: str, attempt: int) -> str:
    """Name of an attempt's RayJob and ConfigMap: deterministic, so that a create which is repeated finds the first."""
    return f"{job}-a{attempt}"
