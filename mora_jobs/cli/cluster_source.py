"""Jobs of a cluster, in one namespace or in all."""

import time
from collections.abc import Iterator, Sequence

from mora_jobs.api import GROUP, VERSION
from mora_jobs.api.kinds import PLURALS
from mora_jobs.errors import UserError

from .cluster import APPLY_PATCH, MERGE_PATCH, Absent, Cluster
from .source import Object

PAUSE = 2.0
FIELD_MANAGER = {"fieldManager": "mora"}
PAGE = "500"


class ClusterSource:
    """Reads jobs, and changes them."""

    def __init__(self, cluster: Cluster, namespace: str | None = None, everywhere: bool = False) -> None:
        self._cluster = cluster
        self.namespace = None if everywhere else namespace or cluster.namespace

    def objects(self, kinds: Sequence[str], name: str | None = None) -> list[Object]:
        if name is not None:
            found = [self._cluster.request("GET", self._path(kinds[0], name), f"{kinds[0]}/{name}")]
        else:
            found = [
                {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, **thing}
                for kind in kinds
                for thing in self._all(self._path(kind), PLURALS[kind])
            ]
        for thing in found:
            thing["metadata"].pop("managedFields", None)
        return found

    def changes(self, kinds: Sequence[str], name: str | None = None) -> Iterator[list[Object]]:
        seen: object = None
        while True:
            found = self.objects(kinds, name)
            versions = [(thing["metadata"]["uid"], thing["metadata"]["resourceVersion"]) for thing in found]
            if versions != seen:
                seen = versions
                yield found
            time.sleep(PAUSE)

    def log(self, kind: str, name: str, follow: bool, tail: int | None) -> Iterator[str]:
        job = self.objects([kind], name)[0]
        attempt = job.get("status", {}).get("currentAttempt", {}).get("rayJobName")
        if not attempt:
            raise UserError(f"{kind}/{name}", "has no log yet: its driver was not started")
        what, pods_path = f"the log of {attempt}", f"/api/v1/namespaces/{self.namespace}/pods"
        # KubeRay's submitter follows the driver's output; its Job has the name of the RayJob.
        selector = {"labelSelector": f"batch.kubernetes.io/job-name={attempt}"}
        pods = self._cluster.request("GET", pods_path, what, query=selector)["items"]
        if not pods:
            kept = f"a driver that has ended leaves its log beside the artifacts: {job['spec']['output']['uri']}/driver.log"
            raise UserError(f"{kind}/{name}", f"the pods of {attempt} are gone, or not there yet", kept)
        newest = max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
        query = {"follow": str(follow).lower()} | ({"tailLines": str(tail)} if tail is not None else {})
        return self._cluster.lines(f"{pods_path}/{newest['metadata']['name']}/log", what, query)

    def events(self, kinds: Sequence[str], name: str | None = None) -> list[Object]:
        """Events of the jobs, and of the RayJobs and pods that were made for them."""
        jobs = {(thing["kind"], thing["metadata"]["name"]) for thing in self.objects(kinds, name)}
        names = {job for _, job in jobs}
        place = f"namespaces/{self.namespace}/" if self.namespace else ""
        found = []
        for event in self._all(f"/api/v1/{place}events", "events"):
            about = (event["involvedObject"].get("kind", ""), event["involvedObject"].get("name", ""))
            if about in jobs or (about[0] not in PLURALS and _made_for(about[1], names)):
                found.append(
                    {
                        "time": _time(event),
                        "type": event.get("type", ""),
                        "reason": event.get("reason", ""),
                        "object": "/".join(about),
                        "message": event.get("message", ""),
                    }
                )
        return sorted(found, key=lambda each: str(each["time"]))

    def remark(self) -> str | None:
        return None

    def apply(self, manifest: Object) -> str:
        """Server-side apply; returns `created`, `configured` or `unchanged`."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        path = self._path(kind, name, manifest["metadata"].get("namespace"))
        try:
            before = _desired(self._cluster.request("GET", path, f"{kind}/{name}"))
        except Absent:
            before = None
        query = FIELD_MANAGER | {"fieldValidation": "Strict"}
        written = self._cluster.request(
            "PATCH", path, f"{kind}/{name}", query=query, body=manifest, content_type=APPLY_PATCH
        )
        if before is None:
            return "created"
        return "unchanged" if before == _desired(written) else "configured"

    def create(self, manifest: Object) -> None:
        """A new object. UserError if there is one of this name."""
        kind = manifest["kind"]
        what = f"{kind}/{manifest['metadata']['name']}"
        self._cluster.request("POST", self._path(kind), what, query=FIELD_MANAGER, body=manifest)

    def merge(self, kind: str, name: str, change: Object) -> Object:
        """Change members of an object; returns it."""
        path = self._path(kind, name)
        return self._cluster.request(
            "PATCH", path, f"{kind}/{name}", query=FIELD_MANAGER, body=change, content_type=MERGE_PATCH
        )

    def _all(self, path: str, what: str) -> Iterator[Object]:
        query = {"limit": PAGE}
        while True:
            page = self._cluster.request("GET", path, what, query=query)
            yield from page["items"]
            if not page["metadata"].get("continue"):
                return
            query["continue"] = page["metadata"]["continue"]

    def _path(self, kind: str, name: str | None = None, namespace: str | None = None) -> str:
        root = f"/apis/{GROUP}/{VERSION}"
        namespace = namespace or self.namespace
        if namespace is None:
            if name is not None:
                raise UserError("--all-namespaces", "goes without a name", "give -n NAMESPACE")
            return f"{root}/{PLURALS[kind]}"
        path = f"{root}/namespaces/{namespace}/{PLURALS[kind]}"
        return f"{path}/{name}" if name else path


def _desired(thing: Object) -> list[object]:
    """What users decide about an object; its version also changes with its status."""
    return [thing["spec"], *(thing["metadata"].get(name) for name in ("labels", "annotations"))]


def _made_for(name: str, jobs: set[str]) -> bool:
    """Whether a RayJob, RayCluster or pod carries the name of a job: <job>-a<attempt>, and what stems from that."""
    for job in jobs:
        rest = name.removeprefix(f"{job}-a")
        if rest != name and rest.partition("-")[0].isdigit():
            return True
    return False


def _time(event: Object) -> str:
    for name in ("lastTimestamp", "eventTime", "firstTimestamp"):
        if event.get(name):
            return str(event[name])
    return str(event["metadata"]["creationTimestamp"])
