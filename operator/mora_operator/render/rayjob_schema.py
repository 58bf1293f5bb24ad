"""Which fields of a RayJob the installed KubeRay knows: an API server drops unknown ones, or refuses the whole object.

Supported are KubeRay 1.5.1 to 1.7. What is rendered is for the newest; `fit` makes it fit the one that is there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..resources import RAY_JOBS, Object

# Pod templates are KubeRay's copy of core/v1: large, and the same in all versions as far as we use them.
OPAQUE = ("template", "submitterPodTemplate")


@dataclass(frozen=True, slots=True)
class Since:
    """The first version of KubeRay that has a field, and what a user can do without it. `optional`: it may be left out."""

    version: str
    instead: str = ""
    optional: bool = False


FIELDS = {
    # The operator sees to this deadline itself, a little later.
    "spec.preRunningDeadlineSeconds": Since("1.6", optional=True),
    # Without it the dashboard, which runs what it is sent, would be open to whoever reaches it.
    "spec.rayClusterSpec.authOptions": Since("1.5.1", "set spec.cluster.auth.mode: Disabled"),
    "spec.rayClusterSpec.workerGroupSpecs.numOfHosts": Since("1.1", "set pipelineParallelSize: 1"),
    "spec.submitterConfig": Since("1.2", "set spec.cluster.submissionMode: HTTPMode"),
    # 1.5 has deletionRules, but behind a feature gate that is off, and knows no failure without a failed Ray job.
    "spec.deletionStrategy.deletionRules.condition.jobDeploymentStatus": Since(
        "1.6", "set spec.cluster.retainOnFailure: None"
    ),
}
OLDEST = Since("1.5.1")


class UnsupportedKubeRay(Exception):
    """The installed KubeRay lacks what a job needs; the message says what, and what to do."""


class RayJobSchema:
    """The fields of RayJobs that the API server keeps, as dotted paths; lists are looked through."""

    def __init__(self, fields: frozenset[str]) -> None:
        self._fields = fields

    @classmethod
    def of(cls, openapi: Mapping[str, Any]) -> Self:
        """Read /openapi/v3/apis/ray.io/v1. Raises UnsupportedKubeRay where it has no RayJob."""
        wanted = {"group": RAY_JOBS.group, "version": RAY_JOBS.version, "kind": RAY_JOBS.kind}
        for schema in openapi.get("components", {}).get("schemas", {}).values():
            if wanted in schema.get("x-kubernetes-group-version-kind", ()):
                return cls(frozenset(_paths(schema["properties"]["spec"], "spec")))
        raise UnsupportedKubeRay(f"there is no RayJob in {RAY_JOBS.api_version}: install KubeRay 1.5.1 or newer")

    def knows(self, field: str) -> bool:
        """Whether there is a field, e.g. spec.rayClusterSpec.workerGroupSpecs.numOfHosts."""
        return field in self._fields

    def fit(self, ray_job: Object) -> Object:
        """The RayJob without optional fields that are unknown here. Raises UnsupportedKubeRay where another is."""
        return ray_job | {"spec": self._fitted(ray_job["spec"], "spec")}

    def _fitted(self, value: Any, path: str) -> Any:
        if isinstance(value, list):
            return [self._fitted(item, path) for item in value]
        if not isinstance(value, dict) or not self._has_members(path):
            return value
        return {
            key: self._fitted(item, f"{path}.{key}") for key, item in value.items() if self._keeps(f"{path}.{key}")
        }

    def _keeps(self, field: str) -> bool:
        if self.knows(field):
            return True
        since = FIELDS.get(field, OLDEST)
        if since.optional:
            return False
        instead = f", or {since.instead}" if since.instead else ""
        raise UnsupportedKubeRay(
            f"the installed KubeRay does not know RayJob field {field}: install KubeRay {since.version} or newer with its "
            f"CRDs (`helm upgrade` leaves CRDs as they are){instead}"
        )

    def _has_members(self, path: str) -> bool:
        """False for maps, like rayStartParams, and for what is not looked into."""
        return path == "spec" or any(field.startswith(f"{path}.") for field in self._fields)


def _paths(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    while "items" in schema:
        schema = schema["items"]
    for name, member in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        if name not in OPAQUE:
            yield from _paths(member, f"{path}.{name}")
