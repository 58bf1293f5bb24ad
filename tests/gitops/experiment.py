"""A namespace with one experiment, in which a test plays KubeRay and the garbage collector; our operator is real."""

import json
import threading
from collections.abc import Callable
from typing import Any, Self

from control_plane import Cluster
from operator_process import Api, Object, Operator, wait_until

SECONDS = 60
KINDS = ("rolloutjob", "rewritejob", "alignmentjob")
DEPENDENTS = ("rayjob", "configmap", "serviceaccount", "networkpolicy")


class Experiment:
    """`collector_seconds`: how long what a deleted job has left stays there, as with Kubernetes' garbage collector."""

    def __init__(self, cluster: Cluster, operator: Operator, namespace: str) -> None:
        self.cluster, self.operator, self.namespace = cluster, operator, namespace
        self.api = Api(cluster, namespace)
        self.collector_seconds = 0.5
        self._over = threading.Event()
        self._collector = threading.Thread(target=self._collect, daemon=True)
        self.collector_error = ""  # of its last round: like the real one, it tries again

    def __enter__(self) -> Self:
        self._collector.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._collector.join(10)
        assert not self.collector_error

    def jobs(self) -> list[Object]:
        """All jobs, in the order in which they run."""
        return [job for kind in KINDS for job in self._listed(kind)]

    def job(self, kind: str) -> Object:
        """The only job of a kind."""
        (job,) = self._listed(kind)
        return job

    def uids(self) -> list[str]:
        return [job["metadata"]["uid"] for job in self.jobs()]

    def phases(self) -> dict[str, str]:
        return {job["metadata"]["name"]: job.get("status", {}).get("phase", "") for job in self.jobs()}

    def until(self, holds: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
        return wait_until(holds, seconds, lambda: f"{what}: {self.phases()}\n{self.operator.log[-2000:]}")

    def until_phases(self, *phases: str) -> None:
        self.until(lambda: tuple(self.phases().values()) == phases, f"the jobs are not {', '.join(phases)}")

    def kuberay_says(self, kind: str, status: Object, attempt: int = 1) -> None:
        """Of the RayJob of an attempt of the only job of this kind."""
        self.until(lambda: len(self._listed(kind)) == 1, f"there is no {kind}, or more than one")
        job = self.job(kind)["metadata"]
        rayjob = f"{job['name']}-a{attempt}"

        def is_there() -> bool:  # and not that of a deleted job of this name
            found = self.api.get("rayjob", rayjob) or {"metadata": {}}
            return job["uid"] in [owner["uid"] for owner in found["metadata"].get("ownerReferences", ())]

        self.until(is_there, f"there is no RayJob {rayjob} of this {kind}")
        self.api.merge("rayjob", f"{rayjob}/status", {"status": status})

    def written(self) -> list[str]:
        """What only who applies manifests may change: generation, spec, labels, and who manages which of these fields."""
        found = []
        for job in self.jobs():
            metadata = job["metadata"]
            managers = [each for each in metadata["managedFields"] if each.get("subresource") != "status"]
            kept = {name: metadata.get(name) for name in ("uid", "generation", "labels", "annotations")}
            found.append(json.dumps([kept, job["spec"], managers], sort_keys=True))
        return found

    def versions(self) -> list[str]:
        return [job["metadata"]["resourceVersion"] for job in self.jobs()]

    def _listed(self, kind: str) -> list[Object]:
        answer = self.api.get(kind)
        assert answer is not None
        items: list[Object] = answer["items"]
        return items

    def _collect(self) -> None:
        """Delete what belongs to a job or a RayJob that is gone."""
        api = Api(self.cluster, self.namespace)
        orphans: set[str] = set()
        while not self._over.wait(self.collector_seconds):
            try:
                listed = {kind: (api.get(kind) or {"items": []})["items"] for kind in (*KINDS, *DEPENDENTS)}
                alive = {each["metadata"]["uid"] for items in listed.values() for each in items}
                found = set()
                for kind in DEPENDENTS:
                    for each in listed[kind]:
                        metadata = each["metadata"]
                        owners = {owner["uid"] for owner in metadata.get("ownerReferences", ())}
                        if owners and not owners & alive:
                            found.add(metadata["uid"])
                            if metadata["uid"] in orphans:  # for one round at least
                                api.delete(kind, metadata["name"])
                orphans, self.collector_error = found, ""
            except AssertionError as error:
                self.collector_error = "" if "NotFound" in str(error) else str(error)
