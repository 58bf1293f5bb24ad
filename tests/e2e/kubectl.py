"""A namespace of the test's cluster, by kubectl."""

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Object = dict[str, Any]


@dataclass(frozen=True)
class Namespace:
    """A namespace of the cluster that enforces Pod Security `restricted`, with a shared volume of the node."""

    name: str
    volume: Path

    def kubectl(self, *args: str, stdin: str | None = None, timeout: float = 120, namespaced: bool = True) -> str:
        place = ["-n", self.name] if namespaced else []
        command = [*shlex.split(os.environ.get("MORA_E2E_EXEC", "")), "kubectl", *place, *args]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(args)}: {done.stderr or done.stdout}")
        return done.stdout

    def apply(self, *objects: Object) -> None:
        self.kubectl(
            "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        )

    def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def listed(self, kinds: str) -> list[Object]:
        found: list[Object] = json.loads(self.kubectl("get", kinds, "-o", "json"))["items"]
        return found

    def await_job(self, kind: str, name: str, seconds: float, until: Callable[[Object], bool]) -> list[Object]:
        """Follow a job until `until(status)` holds; every status that was seen on the way, in order."""
        seen: list[Object] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.get(kind, name).get("status", {})
            if not seen or seen[-1] != status:
                seen.append(status)
            if until(status):
                return seen
            time.sleep(1)
        phases = [status.get("phase") for status in seen]
        raise AssertionError(f"{kind}/{name} did not get there in {seconds} s: {phases}, last {json.dumps(seen[-1])}")

    def await_that(self, holds: Callable[[], bool], seconds: float, what: Callable[[], object] = lambda: "") -> None:
        """Ask until something holds; `what` tells why it does not."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what()}"
            time.sleep(1)

    def events(self, kind: str, name: str) -> list[Object]:
        """The events about an object."""
        found = self.listed("events.events.k8s.io")
        return [each for each in found if (each["regarding"]["kind"], each["regarding"]["name"]) == (kind, name)]

    def operator_metrics(self) -> dict[str, list[str]]:
        """The lines of /metrics of every replica of the operator, by the name of its pod."""
        place = "/api/v1/namespaces/mora-system/{}:8080/proxy/metrics"
        labels = "app.kubernetes.io/name=mora-operator"
        pods = self.kubectl("get", "pods", "-n", "mora-system", "-l", labels, "-o", "name").split()
        return {
            pod: self.kubectl("get", "--raw", place.format(pod.replace("pod/", "pods/"))).splitlines() for pod in pods
        }

    def job_metric(self, metric: str, name: str) -> list[float]:
        """The values of a metric of the operator's for a job of this namespace, of all its replicas."""
        labels = f'namespace="{self.name}"', f'name="{name}"'
        lines = [line for lines in self.operator_metrics().values() for line in lines if line.startswith(metric)]
        return [float(line.rsplit(" ", 1)[1]) for line in lines if all(label in line for label in labels)]


def rows(folder: Path) -> list[Object]:
    """The rows of a table of a job's, on the namespace's volume."""
    parts = sorted(folder.rglob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]
