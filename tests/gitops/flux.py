"""Flux's real kustomize-controller as a process against the test's API server. An ExternalArtifact plays the Git source."""

import contextlib
import functools
import hashlib
import http.server
import json
import os
import subprocess
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from control_plane import Cluster, _die_with_parent, _free_port
from operator_process import Object, wait_until

BINARY, CRDS = "kustomize-controller", "flux-crds"
NAMESPACE = "flux-system"
READY_SECONDS = 60


def missing(assets: Path) -> str:
    """What these tests need and `assets` lacks, as a sentence; empty where nothing is missing."""
    absent = [name for name in (BINARY, CRDS) if not (assets / name).exists()]
    return f"{assets} has no {' and no '.join(absent)}: KUBEBUILDER_ASSETS must hold Flux's too" if absent else ""


class Flux:
    def __init__(self, cluster: Cluster, folder: Path, artifacts: str) -> None:
        self._cluster, self._folder, self._artifacts = cluster, folder, artifacts

    @property
    def log(self) -> str:
        return (self._folder / "flux.log").read_text()

    def publish(self, name: str, folder: Path) -> str:
        """As a push to Git: the folder is the newest revision of the source. Returns that revision."""
        archive = self._folder / "artifacts" / f"{name}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(folder, ".")
        digest = f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        source = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "ExternalArtifact", "spec": {}}
        self._cluster.apply(source | {"metadata": {"name": name, "namespace": NAMESPACE}})
        artifact = {"url": f"{self._artifacts}/{archive.name}", "path": archive.name, "revision": f"v1@{digest}"}
        artifact |= {"digest": digest, "size": archive.stat().st_size, "lastUpdateTime": now}
        ready = {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "published"}
        ready |= {"lastTransitionTime": now, "observedGeneration": 1}
        status = json.dumps({"status": {"artifact": artifact, "conditions": [ready]}})
        patch = ("patch", "externalartifact", name, "--subresource=status", "--type=merge", "-p", status)
        self._cluster.kubectl("-n", NAMESPACE, *patch)
        return str(artifact["revision"])

    def keep(self, name: str, path: str, **spec: Any) -> None:
        """A Kustomization that keeps a path of the source of the same name, looked at every 10 seconds."""
        defaults = {
            "interval": "10s", "retryInterval": "5s", "timeout": "60s", "prune": True, "wait": True, "path": path,
            "sourceRef": {"kind": "ExternalArtifact", "name": name},
        }  # fmt: skip
        kind = {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization"}
        self._cluster.apply(kind | {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": defaults | spec})

    def kustomization(self, name: str) -> Object:
        found: Object = json.loads(
            self._cluster.kubectl("-n", NAMESPACE, "get", "kustomizations.kustomize.toolkit.fluxcd.io", name, "-o", "json").stdout
        )  # fmt: skip
        return found

    def ready(self, name: str) -> Object:
        """Its condition Ready, with what was applied and what was tried."""
        status = self.kustomization(name).get("status", {})
        found = {"status": "", "reason": "", "message": ""}
        for condition in status.get("conditions", ()):
            if condition["type"] == "Ready":
                found = condition
        return found | {"applied": status.get("lastAppliedRevision"), "tried": status.get("lastAttemptedRevision")}

    def until_ready(self, name: str, revision: str, seconds: float = 90) -> Object:
        return self._until(name, seconds, lambda ready: ready["status"] == "True" and ready["applied"] == revision)

    def until_failed(self, name: str, seconds: float = 90) -> Object:
        return self._until(name, seconds, lambda ready: ready["status"] == "False")

    def _until(self, name: str, seconds: float, holds: Callable[[Object], bool]) -> Object:
        def look() -> Object | None:
            ready = self.ready(name)
            return ready if holds(ready) else None

        found: Object = wait_until(look, seconds, lambda: f"{self.ready(name)}\n{self.log[-3000:]}")
        return found

    def reconciliations(self, name: str) -> int:
        """How often it was reconciled to the end, well."""
        lines = [line for line in self.log.splitlines() if f'"name":"{name}"' in line]
        return sum("Reconciliation finished" in line and '"level":"info"' in line for line in lines)

    def stop_keeping(self, name: str) -> None:
        self._cluster.kubectl("-n", NAMESPACE, "delete", "kustomizations.kustomize.toolkit.fluxcd.io", name)


@contextlib.contextmanager
def running_flux(cluster: Cluster, folder: Path) -> Iterator[Flux]:
    """Start it as an administrator, wait until it is ready, stop it. Its log is flux.log in `folder`."""
    cluster.kubectl("apply", "--server-side", "--recursive", "-f", str(cluster.assets / CRDS))
    cluster.kubectl(
        "wait", "--for=condition=Established", "--timeout=60s", "--recursive", "-f", str(cluster.assets / CRDS)
    )
    cluster.kubectl("create", "namespace", NAMESPACE)
    (folder / "artifacts").mkdir()
    handler = functools.partial(_Quiet, directory=str(folder / "artifacts"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    health = _free_port()
    command = [
        str(cluster.assets / BINARY), "--enable-leader-election=false", "--feature-gates=ExternalArtifact=true",
        f"--metrics-addr=127.0.0.1:{_free_port()}", f"--health-addr=127.0.0.1:{health}",
    ]  # fmt: skip
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig), "RUNTIME_NAMESPACE": NAMESPACE}
    with (folder / "flux.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, preexec_fn=_die_with_parent)
    flux = Flux(cluster, folder, f"http://127.0.0.1:{server.server_port}")

    def is_ready() -> bool:
        assert process.poll() is None, f"kustomize-controller ended:\n{flux.log[-3000:]}"
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{health}/readyz", timeout=5).status == 200)
        return False

    try:
        wait_until(is_ready, READY_SECONDS, lambda: f"kustomize-controller did not become ready:\n{flux.log[-3000:]}")
        yield flux
    finally:
        process.terminate()
        process.wait(30)
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass
