"""Clusters without KubeRay, with an old one, and with one that is upgraded under the operator."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_plane import ROOT, Cluster, running
from operator_process import Operator, install, wait_until
from team import Team

DATA = ROOT / "tests" / "data"


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane of its own, because KubeRay's CRD is replaced in it."""
    with running(tmp_path_factory.mktemp("control-plane")) as cluster:
        cluster.install_crds()
        yield cluster


def install_kuberay(cluster: Cluster, version: str) -> None:
    crd = DATA / f"kuberay-{version}" / "rayjobs.ray.io.json"
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(crd))


def test_from_none_to_the_oldest_to_the_newest(own_cluster: Cluster, tmp_path: Path) -> None:
    install(own_cluster)
    own_cluster.kubectl("delete", "crd", "rayjobs.ray.io", "--wait")
    own_cluster.kubectl("create", "namespace", "team")
    operator = Operator(own_cluster, tmp_path, flags={"discovery-seconds": 2})
    team = Team(own_cluster, operator, "team")
    operator.start()
    try:
        team.apply_job("early", preRunningDeadlineSeconds=600)
        team.apply_job("keeps", cluster={"retainOnFailure": "Head"})
        assert reason(team, "early", "KubeRayNotInstalled") == "Stalled"

        install_kuberay(own_cluster, "1.5.1")
        assert operator.process is not None
        assert operator.process.wait(60) == 0, (
            "it ends, because watches begin with the process; the kubelet starts it anew"
        )
        operator.start()
        spec = team.await_object("rayjob", "early-a1")["spec"]
        assert "preRunningDeadlineSeconds" not in spec, "KubeRay 1.5 does not know it: the operator sees to it"
        assert reason(team, "keeps", "UnsupportedKubeRayVersion") == "Stalled"

        install_kuberay(own_cluster, "1.7.0")
        spec = team.await_object("rayjob", "keeps-a1")["spec"]
        assert spec["deletionStrategy"]["deletionRules"], "found out without a restart"
        team.apply_job("late", preRunningDeadlineSeconds=600)
        assert team.await_object("rayjob", "late-a1")["spec"]["preRunningDeadlineSeconds"] == 600
        assert "Traceback" not in operator.log
    finally:
        if operator.running:
            operator.kill()


def reason(team: Team, name: str, wanted: str) -> str:
    """Wait for the reason of Ready; returns the phase."""

    def holds() -> str | None:
        status = team.status(name)
        found = [each["reason"] for each in status.get("conditions", []) if each["type"] == "Ready"]
        return str(status["phase"]) if found == [wanted] else None

    return str(wait_until(holds, 60, lambda: json.dumps(team.status(name)) + team.operator.log[-2000:]))
