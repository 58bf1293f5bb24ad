"""KubeRay's real controller as a process against the test's API server. No kubelet is there: its pods stay Pending."""

import contextlib
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from control_plane import Cluster, _free_port, _process
from operator_process import wait_until

BINARY, CRDS = "kuberay-operator", "kuberay-crds"
READY_SECONDS = 60


def missing(assets: Path) -> str:
    """What these tests need and `assets` lacks, as a sentence; empty where nothing is missing."""
    absent = [name for name in (BINARY, CRDS) if not (assets / name).exists()]
    if not absent:
        return ""
    script = "hack/tools/build test builds them where KUBEBUILDER_ASSETS is not set"
    return f"{assets} has no {' and no '.join(absent)}: KubeRay's controller is not tested ({script})"


def install_crds(cluster: Cluster) -> None:
    """The CRDs of the same release as the controller; they take the place of another release's."""
    # Server-side: they are larger than the annotation that a plain apply would keep.
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(cluster.assets / CRDS))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(cluster.assets / CRDS))


@contextlib.contextmanager
def running_kuberay(cluster: Cluster, folder: Path, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start it as an administrator, wait until it is ready, stop it. Its log is kuberay.log in `folder`."""
    health, log = _free_port(), folder / "kuberay.log"
    command = [
        cluster.assets / BINARY, f"--kubeconfig={cluster.kubeconfig}", "--enable-leader-election=false",
        f"--health-probe-bind-address=127.0.0.1:{health}", f"--metrics-addr=127.0.0.1:{_free_port()}", *flags,
    ]  # fmt: skip
    with _process(command, log) as process:

        def is_ready() -> bool:
            assert process.poll() is None, f"KubeRay's controller ended:\n{log.read_text()[-3000:]}"
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                return bool(urllib.request.urlopen(f"http://127.0.0.1:{health}/readyz", timeout=5).status == 200)
            return False

        wait_until(is_ready, READY_SECONDS, lambda: f"KubeRay did not become ready:\n{log.read_text()[-3000:]}")
        yield process
