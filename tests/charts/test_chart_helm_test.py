"""What `helm test` runs, run as it stands in its pod against a real operator that has exactly the rights of a real release."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chart import default
from control_plane import ROOT, Cluster
from operator_process import NAME, OWN_NAMESPACE, Operator, wait_until
from releases import Release, await_kinds
from team import Team

from mora_operator.progress.certificate import make
from mora_operator.times import clock


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Release:
    """The chart and KubeRay's kind are installed; the ServiceAccount is the release's."""
    made = Release(cluster, NAME, OWN_NAMESPACE)
    made.install({"runtime": {"image": "mora-runtime:1"}})
    crd = ROOT / "tests" / "data" / "kuberay-1.7.0" / "rayjobs.ray.io.json"
    cluster.kubectl("apply", "--server-side", "-f", str(crd))
    await_kinds(cluster, "rayjobs.ray.io", "rolloutjobs.mora.dev")
    return made


@pytest.fixture(scope="module")
def operator(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    running = Operator(release.cluster, tmp_path_factory.mktemp("operator"))
    running.start()
    yield running
    if running.running:
        running.kill()


@pytest.fixture
def authorities(operator: Operator, tmp_path: Path) -> Path:
    """The published authorities, as the pod's volume has them."""
    folder = tmp_path / "authorities"
    folder.mkdir()
    entries = operator.cluster.kubectl(
        "-n", OWN_NAMESPACE, "get", "configmap", f"{NAME}-authorities", "-o",
        "go-template={{range $name, $pem := .data}}{{$pem}}{{end}}",
    )  # fmt: skip
    (folder / "replica").write_text(entries.stdout)
    return folder


def helm_test(operator: Operator, authorities: Path, replicas: int = 1) -> subprocess.CompletedProcess[str]:
    """The pod's command with its own flags, which name the process's addresses here. Who fails is not waited for."""
    (container,) = default().one("Pod")["spec"]["containers"]
    flags = dict(flag.split("=", 1) for flag in container["args"])
    assert set(flags) == {"--metrics", "--progress", "--authorities", "--replicas"}
    health, progress = operator.ports
    here = {
        "--metrics": f"127.0.0.1:{health}", "--progress": f"localhost:{progress}",
        "--authorities": str(authorities), "--replicas": str(replicas), "--wait-seconds": "2",
    }  # fmt: skip
    command = [sys.executable, *container["command"][1:], *(f"{name}={value}" for name, value in here.items())]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=authorities)


def test_it_succeeds_with_a_leader_that_takes_reports(operator: Operator, authorities: Path) -> None:
    wait_until(lambda: operator.count("mora_leader") == 1, 30)
    done = helm_test(operator, authorities)
    assert done.returncode == 0, done.stderr
    assert "1 replicas are ready, 127.0.0.1 leads" in done.stdout
    assert "takes reports over TLS, with a token only" in done.stdout


def test_it_fails_when_a_replica_is_missing(operator: Operator, authorities: Path) -> None:
    done = helm_test(operator, authorities, replicas=2)
    assert done.returncode == 1
    assert done.stderr == "failed: 1 of 2 replicas are ready\n"


def test_it_fails_when_the_certificate_is_of_another_authority(operator: Operator, authorities: Path) -> None:
    (authorities / "replica").write_text(make("localhost", clock()).authority)
    done = helm_test(operator, authorities)
    assert done.returncode == 1
    assert "certificate verify failed" in done.stderr


def test_the_rights_of_the_release_are_enough_for_a_whole_job(operator: Operator) -> None:
    operator.cluster.kubectl("create", "namespace", "helm-team")
    team = Team(operator.cluster, operator, "helm-team")
    team.a_whole_job("job")
    assert not operator.count("mora_api_requests_total", code="403")


def test_it_fails_when_nobody_leads(release: Release, operator: Operator, authorities: Path, tmp_path: Path) -> None:
    """Another replica holds the Lease, and the one that is asked waits for it."""
    second = Operator(release.cluster, tmp_path, flags={"instance": "second"})
    second.start()
    try:
        done = helm_test(second, authorities)
        assert done.returncode == 1
        assert done.stderr == "failed: 0 replicas lead\n"
    finally:
        second.kill()


def test_it_fails_when_the_operator_is_gone(operator: Operator, authorities: Path) -> None:
    operator.kill()
    done = helm_test(operator, authorities)
    assert done.returncode == 1
    assert "refused" in done.stderr
