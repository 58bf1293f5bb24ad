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
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from control_plane import ROOT, Cluster, _free_port

Object = dict[str, Any]
NAME = "mora-operator"
OWN_NAMESPACE = "mora-system"
KUBERAY_CRD = ROOT / "tests" / "data" / "kuberay-1.7.0" / "rayjobs.ray.io.json"


def chart_rules(block: str) -> list[Object]:
    """Rules that the chart grants, read from its template (they hold nothing that is templated)."""
    text = (ROOT / "charts" / "mora-operator" / "templates" / "_helpers.tpl").read_text()
    found = re.search(rf'define "{re.escape(block)}" -\}}\}}\n(.*?)\{{\{{- end \}}\}}', text, re.DOTALL)
    assert found is not None
    rules: list[Object] = yaml.safe_load(found.group(1))
    return rules


def install(cluster: Cluster) -> None:
    """KubeRay's CRD, and a ServiceAccount for the operator with the chart's rights."""
    cluster.kubectl("apply", "--server-side", "-f", str(KUBERAY_CRD))
    wait_until(lambda: not cluster.kubectl("get", "rayjobs", check=False).returncode, 30)
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": OWN_NAMESPACE}
    rbac = "rbac.authorization.k8s.io/v1"
    reviews = {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OWN_NAMESPACE}})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": OWN_NAMESPACE}}
    rights = [account]
    for kind, rules in (
        ("ClusterRole", [*chart_rules("mora.rules"), reviews]),
        ("Role", chart_rules("mora.ownRules")),
    ):
        metadata = {"name": NAME} | ({"namespace": OWN_NAMESPACE} if kind == "Role" else {})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": NAME}
        binding = {"apiVersion": rbac, "kind": f"{kind}Binding", "metadata": metadata, "roleRef": role}
        rights += [
            {"apiVersion": rbac, "kind": kind, "metadata": metadata, "rules": rules},
            binding | {"subjects": [subject]},
        ]
    cluster.apply(*rights)


PATHS = {
    "rolloutjob": "apis/mora.dev/v1alpha1/namespaces/{}/rolloutjobs",
    "rewritejob": "apis/mora.dev/v1alpha1/namespaces/{}/rewritejobs",
    "alignmentjob": "apis/mora.dev/v1alpha1/namespaces/{}/alignmentjobs",
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
    """A running operator; several may run side by side, each in a folder of its own.

    `server` is where it finds the API server, if not directly (a fault_proxy's URL); `flags` are added to its own;
    `code` is the root of another checkout to run (an older commit), in which `operator/` and `mora_jobs/` lie.
    """

    cluster: Cluster
    folder: Path
    server: str | None = None
    flags: dict[str, Any] = field(default_factory=dict)
    code: Path | None = None
    account: str = NAME
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

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, wait: bool = True) -> None:
        """Start it; with `wait`, return when it is ready."""
        config = self.folder / "kubeconfig"
        if not config.exists():
            config.write_text(json.dumps(self._kubeconfig()))
        environment = os.environ | {"KUBECONFIG": str(config)}
        if self.code is not None:
            # Before the installed checkout, which an editable install puts at the end of sys.path.
            environment["PYTHONPATH"] = f"{self.code / 'operator'}{os.pathsep}{self.code}"
        flags = {
            "runtime-image": "mora-runtime:1",
            "progress-host": "localhost",
            "progress-port": self.ports[1],
            "health-port": self.ports[0],
            "progress-interval-seconds": 0.3,
            "resync-seconds": 2,
        } | self.flags
        command = [sys.executable, "-m", "mora_operator", *(f"--{name}={value}" for name, value in flags.items())]
        with (self.folder / "operator.log").open("ab") as log:
            # Not in the checkout that the tests run in: with -m, modules of the working directory come first.
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self.folder)
        if wait:
            wait_until(self.is_ready, 60, lambda: f"the operator did not become ready:\n{self.log[-3000:]}")

    def kill(self) -> None:
        """As a node crash would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(40)

    def suspend(self) -> None:
        """As a paused virtual machine, or a node that swaps: it does nothing, and does not know it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def metrics(self) -> str:
        return httpx.get(f"{self.health}/metrics").text

    def count(self, metric: str, **labels: str) -> float:
        """Sum of a metric's samples that have these labels."""
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        lines = [line for line in self.metrics().splitlines() if line.startswith(metric)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(each in line for each in wanted))

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.health}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def _kubeconfig(self) -> Object:
        """Kept over restarts: a token lasts for longer than a test, and kubectl takes a tenth of a second."""
        token = self.cluster.kubectl(
            "create", "token", self.account, "-n", OWN_NAMESPACE, "--duration=1h"
        ).stdout.strip()
        config: Object = json.loads(self.cluster.kubeconfig.read_text())
        config["users"] = [{"name": "admin", "user": {"token": token}}]
        if self.server is not None:
            config["clusters"][0]["cluster"] = {"server": self.server}
        return config


@contextlib.contextmanager
def running_operator(cluster: Cluster, folder: Path, **options: Any) -> Iterator[Operator]:
    """`options` are those of Operator."""
    operator = Operator(cluster, folder, **options)
    operator.start()
    try:
        yield operator
    finally:
        if operator.running:
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
