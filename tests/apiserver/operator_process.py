"""The operator as a process of its own against the test's API server, with exactly the rights that the chart gives it."""

import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from control_plane import ROOT, Cluster, _free_port

Object = dict[str, Any]
NAME = "mora-operator"
KUBERAY_CRD = ROOT / "tests" / "data" / "kuberay-1.7.0" / "rayjobs.ray.io.json"


def chart_rules() -> list[Object]:
    """The rules that the chart grants, read from its template (they hold nothing that is templated)."""
    text = (ROOT / "charts" / "mora-operator" / "templates" / "_helpers.tpl").read_text()
    block = re.search(r'define "mora\.rules" -\}\}\n(.*?)\{\{- end \}\}', text, re.DOTALL)
    assert block is not None
    rules: list[Object] = yaml.safe_load(block.group(1))
    return [*rules, {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}]


def install(cluster: Cluster) -> None:
    """KubeRay's CRD, and a ServiceAccount for the operator with the chart's rights."""
    cluster.kubectl("apply", "--server-side", "-f", str(KUBERAY_CRD))
    wait_until(lambda: not cluster.kubectl("get", "rayjobs", check=False).returncode, 30)
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": "default"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME}
    rbac = "rbac.authorization.k8s.io/v1"
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": "default"}},
        {"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": NAME}, "rules": chart_rules()},
        {
            "apiVersion": rbac,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME},
            "roleRef": role,
            "subjects": [subject],
        },
    )


PATHS = {
    "rolloutjob": "apis/mora.dev/v1alpha1/namespaces/{}/rolloutjobs",
    "rayjob": "apis/ray.io/v1/namespaces/{}/rayjobs",
    "configmap": "api/v1/namespaces/{}/configmaps",
    "serviceaccount": "api/v1/namespaces/{}/serviceaccounts",
    "networkpolicy": "apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "event": "apis/events.k8s.io/v1/namespaces/{}/events",
    "pod": "api/v1/namespaces/{}/pods",
}


class Api:
    """An administrator's requests in one namespace, over plain HTTP: far cheaper than a kubectl for each."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        context = ssl.create_default_context(cafile=str(cluster.ca))
        headers = {"Authorization": f"Bearer {cluster.token}"}
        self._http = httpx.Client(base_url=cluster.url, headers=headers, verify=context, timeout=30)
        self._namespace = namespace

    def get(self, kind: str, name: str = "") -> Object | None:
        answer = self._http.get(self._path(kind, name))
        return None if answer.status_code == 404 else self._object(answer)

    def create(self, kind: str, body: Object, name: str = "", **parameters: str) -> Object:
        return self._object(self._http.post(self._path(kind, name), json=body, params=parameters))

    def merge(self, kind: str, name: str, body: Object) -> Object:
        content = json.dumps(body).encode()
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._object(self._http.patch(self._path(kind, name), content=content, headers=headers))

    def delete(self, kind: str, name: str) -> None:
        self._object(self._http.delete(self._path(kind, name)))

    def _path(self, kind: str, name: str) -> str:
        return "/" + "/".join([PATHS[kind].format(self._namespace), *([name] if name else [])])

    @staticmethod
    def _object(answer: httpx.Response) -> Object:
        assert answer.is_success, answer.text
        found: Object = answer.json()
        return found


@dataclass
class Operator:
    """A running operator."""

    cluster: Cluster
    folder: Path
    ports: tuple[int, int] = field(default_factory=lambda: (_free_port(), _free_port()))
    process: subprocess.Popen[bytes] | None = None

    @property
    def health(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def progress(self) -> str:
        return f"https://localhost:{self.ports[1]}/v1alpha1"

    @property
    def log(self) -> str:
        return (self.folder / "operator.log").read_text()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        token = self.cluster.kubectl("create", "token", NAME, "-n", "default", "--duration=1h").stdout.strip()
        config = json.loads(self.cluster.kubeconfig.read_text())
        config["users"] = [{"name": "admin", "user": {"token": token}}]
        (self.folder / "kubeconfig").write_text(json.dumps(config))
        environment = os.environ | {"KUBECONFIG": str(self.folder / "kubeconfig")}
        flags = {
            "runtime-image": "mora-runtime:1",
            "progress-host": "localhost",
            "progress-port": self.ports[1],
            "health-port": self.ports[0],
            "progress-interval-seconds": 0.3,
            "resync-seconds": 2,
        }
        command = [sys.executable, "-m", "mora_operator", *(f"--{name}={value}" for name, value in flags.items())]
        with (self.folder / "operator.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        wait_until(self._is_ready, 60, lambda: f"the operator did not become ready:\n{self.log[-3000:]}")

    def kill(self) -> None:
        """As a node crash would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(40)

    def metrics(self) -> str:
        return httpx.get(f"{self.health}/metrics").text

    def _is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.health}/readyz").status_code == 200
        return False


@contextlib.contextmanager
def running_operator(cluster: Cluster, folder: Path) -> Iterator[Operator]:
    operator = Operator(cluster, folder)
    operator.start()
    try:
        yield operator
    finally:
        if operator.process is not None and operator.process.poll() is None:
            operator.kill()


def wait_until(
    holds: Callable[[], Any], seconds: float, otherwise: Callable[[], str] = lambda: "it did not happen"
) -> Any:
    """Ask again and again until the answer is true; the answer is returned."""
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(otherwise())
        time.sleep(0.05)
    return answer
