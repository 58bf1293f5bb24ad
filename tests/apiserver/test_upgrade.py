"""An operator of the previous commit is replaced by this one while jobs run: nothing restarts."""

from pathlib import Path

import pytest
from control_plane import Cluster
from operator_process import OWN_NAMESPACE, Operator, install
from previous_commit import previous_commit
from team import FAILED, INITIALIZING, RUNNING, SUCCEEDED, Team

STAGES = {"new": None, "provisioning": INITIALIZING, "running": RUNNING, "failed": FAILED}


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The code of the previous commit."""
    return previous_commit(tmp_path / "previous", "operator", "mora_jobs")


def test_nothing_restarts(cluster: Cluster, previous: Path, tmp_path: Path) -> None:
    install(cluster)
    cluster.kubectl("-n", OWN_NAMESPACE, "delete", "lease", "--all")
    cluster.kubectl("create", "namespace", "upgrade")
    old = Operator(cluster, tmp_path, code=previous)
    team = Team(cluster, old, "upgrade")
    old.start()
    for name, state in STAGES.items():
        team.apply_job(name)
        team.await_object("rayjob", f"{name}-a1")
        if state is not None:
            team.kuberay_says(f"{name}-a1", state)
    team.await_phase("running", "Running")
    team.await_phase("failed", "Retrying")
    assert team.report("running", {"progress": {"progressPercentage": 10}}).status_code == 200
    team.await_status("running", lambda status: "progress" in status)
    before = {
        name: team.await_object("rayjob", f"{name}-a1")["metadata"]["uid"] for name in STAGES if name != "failed"
    }
    assert old.stop() == 0

    new = Operator(cluster, tmp_path, ports=old.ports)
    team.operator = new
    new.start()
    try:
        team.await_object("rayjob", "failed-a2")
        for name, uid in before.items():
            assert team.await_object("rayjob", f"{name}-a1")["metadata"]["uid"] == uid
            assert team.get("rayjob", f"{name}-a2") is None
            assert team.status(name)["attempts"]["current"] == 1
        for name in before:
            team.kuberay_says(f"{name}-a1", RUNNING)
        team.await_phase("new", "Running")

        answer = team.report("running", {"progress": {"progressPercentage": 20}})
        assert answer.status_code == 200, "the driver that the old operator started reports to the new one"
        team.await_status("running", lambda status: status["progress"]["progressPercentage"] == 20)
        for name in before:
            team.kuberay_says(f"{name}-a1", SUCCEEDED)
            team.await_phase(name, "Complete")
        assert new.stop() == 0
        assert "Traceback" not in new.log
    finally:
        if new.running:
            new.kill()
