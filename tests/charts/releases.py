"""Releases of the chart in a real API server, made by real Helm. Nothing runs there: there is no kubelet."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml
from chart import CHART, Object, helm_binary
from control_plane import Cluster
from operator_process import wait_until


@dataclass(frozen=True)
class Release:
    """A release by its name and namespace."""

    cluster: Cluster
    name: str = "mora-operator"
    namespace: str = "mora-system"

    def helm(
        self, *arguments: str, values: Object | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run Helm as the cluster's administrator."""
        given = ["--values", "-"] if values is not None else []
        environment = os.environ | {"KUBECONFIG": str(self.cluster.kubeconfig), "HOME": str(self.cluster.folder)}
        done = subprocess.run(
            [helm_binary(), f"--namespace={self.namespace}", *arguments, *given], env=environment,
            input=json.dumps(values or {}), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    def install(self, values: Object | None = None, *flags: str, chart: Path = CHART) -> None:
        self.helm("install", self.name, str(chart), "--create-namespace", *flags, values=values or {})

    def upgrade(self, values: Object | None = None, *flags: str, chart: Path = CHART) -> None:
        """With these values only, unless a flag says otherwise: Helm takes the last ones where it is given none."""
        self.helm("upgrade", self.name, str(chart), *(flags or ["--reset-values"]), values=values or {})

    def manifest(self) -> list[Object]:
        """The objects of the release, as Helm has kept them."""
        text = self.helm("get", "manifest", self.name).stdout
        return [each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each]

    def notes(self) -> str:
        return self.helm("get", "notes", self.name).stdout

    def live(self) -> list[Object]:
        """What the API server has of those objects now."""
        return read(self.cluster, self.manifest())


def read(cluster: Cluster, manifest: list[Object]) -> list[Object]:
    """Those of the objects that are there, as they are now."""
    listed = {"apiVersion": "v1", "kind": "List", "items": manifest}
    done = cluster.kubectl("get", "-f", "-", "-o", "json", "--ignore-not-found", stdin=json.dumps(listed))
    if not done.stdout:
        return []
    found = json.loads(done.stdout)
    items: list[Object] = found["items"] if found["kind"] == "List" else [found]
    return items


def await_kinds(cluster: Cluster, *plurals: str) -> None:
    """Until kinds that were just installed are served (kubectl wait does not bear with a CRD without a status)."""
    wait_until(lambda: not any(cluster.kubectl("get", each, check=False).returncode for each in plurals), 30)


def remove_everything(cluster: Cluster) -> None:
    """All releases, and what they leave on purpose."""
    release = Release(cluster)
    for each in json.loads(release.helm("list", "--all-namespaces", "-o", "json").stdout):
        release.helm("uninstall", each["name"], f"--namespace={each['namespace']}")
    crds = json.loads(cluster.kubectl("get", "crd", "-o", "json").stdout)["items"]
    for group in ("mora.dev", "ray.io", "monitoring.coreos.com"):
        names = [each["metadata"]["name"] for each in crds if each["spec"]["group"] == group]
        if names:
            cluster.kubectl("delete", "crd", *names)
