"""A real etcd and kube-apiserver on loopback, without kubelets or controllers: ready in seconds, no root needed."""

import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ROOT = Path(__file__).parents[2]
TOKEN = "admin-of-the-test-cluster"
START_SECONDS = 120


@dataclass(frozen=True)
class Cluster:
    """A running API server; `kubeconfig`, `url`, `token` and `ca` (file) are those of an administrator."""

    assets: Path
    kubeconfig: Path
    url: str
    token: str
    ca: Path
    folder: Path

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl; with `check`, a failure raises AssertionError with its stderr."""
        command = [str(self.assets / "kubectl"), f"--kubeconfig={self.kubeconfig}", *args]
        env = {"HOME": str(self.folder), "PATH": os.environ["PATH"]}
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False, env=env)
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(args)}: {done.stderr or done.stdout}")
        return done

    def apply(self, *documents: dict[str, Any]) -> None:
        """Plain `kubectl apply` of objects."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    def install_crds(self, folder: Path = ROOT / "crds") -> None:
        """Install our CRDs and wait until they are served."""
        self.kubectl("apply", "-f", str(folder))
        self.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(folder))


def assets() -> Path:
    """The folder with the binaries; builds them once where they are missing."""
    script = ROOT / "hack" / "tools" / "build"
    done = subprocess.run([str(script), "test"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            "etcd, kube-apiserver and kubectl are needed for these tests; see above for what is missing"
        )
    return Path(done.stdout.strip())


@contextlib.contextmanager
def running(folder: Path, *apiserver_flags: str) -> Iterator[Cluster]:
    """Start both, wait for /readyz, stop both. Logs and data stay in `folder`."""
    binaries = assets()
    client, peer, secure = (_free_port() for _ in range(3))
    url = f"https://127.0.0.1:{secure}"
    key, tokens, config = folder / "sa.key", folder / "tokens.csv", folder / "kubeconfig"
    _write_key(key)
    tokens.write_text(f"{TOKEN},admin,admin,system:masters\n")
    ca = folder / "pki" / "apiserver.crt"
    config.write_text(json.dumps(_kubeconfig(url, ca)))
    etcd = [
        binaries / "etcd", f"--data-dir={folder / 'etcd'}", f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}", f"--listen-peer-urls=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync", "--log-level=warn",
    ]  # fmt: skip
    apiserver = [
        binaries / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{client}", "--bind-address=127.0.0.1",
        f"--secure-port={secure}", f"--cert-dir={folder / 'pki'}", "--endpoint-reconciler-type=none",
        f"--token-auth-file={tokens}", "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
        "--service-cluster-ip-range=10.0.0.0/24", "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}", *apiserver_flags,
    ]  # fmt: skip
    cluster = Cluster(binaries, config, url, TOKEN, ca, folder)
    with _process(etcd, folder / "etcd.log"), _process(apiserver, folder / "apiserver.log") as server:
        _wait_until_ready(cluster, server)
        yield cluster


def _wait_until_ready(cluster: Cluster, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while cluster.kubectl("get", "--raw", "/readyz", check=False).returncode:
        if server.poll() is not None or time.monotonic() > until:
            log = (cluster.folder / "apiserver.log").read_text(errors="replace")
            raise RuntimeError(f"the API server did not come up:\n{log[-3000:]}")
        time.sleep(0.2)


@contextlib.contextmanager
def _process(command: list[Any], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=out, stderr=out, preexec_fn=_die_with_parent
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent() -> None:
    """A test run that is killed must not leave servers behind (Linux: PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _free_port() -> int:
    """Below those that the kernel gives to outgoing connections: one of them could take it before its server does."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _write_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


def _kubeconfig(url: str, ca: Path) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(ca)}}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
