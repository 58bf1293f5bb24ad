"""Two replicas: one leads, both take reports, and whatever happens to the leader, the other one takes over."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from control_plane import Cluster
from fault_proxy import FaultProxy
from operator_process import OWN_NAMESPACE, Api, Operator, install, wait_until
from team import RUNNING, SUCCEEDED, Team

TAKEOVER_SECONDS = 20.0
WATCHED = ("rolloutjob", "rayjob", "configmap", "serviceaccount", "networkpolicy")


class Pair:
    """Replicas a and b. a starts first, so it leads; its way to the API server goes through `proxy`."""

    def __init__(self, cluster: Cluster, folder: Path, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.a, self.b = (
            Operator(cluster, folder / name, server=server, flags={"instance": name, "workers": 4})
            for name, server in (("a", proxy.url), ("b", None))
        )

    def start(self) -> None:
        for each in (self.a, self.b):
            each.folder.mkdir()
            each.start()
            wait_until(lambda: leads(self.a), 30, lambda: self.a.log)

    def await_takeover(self) -> float:
        """Seconds until b leads."""
        begun = time.monotonic()
        wait_until(lambda: leads(self.b), 2 * TAKEOVER_SECONDS, lambda: self.b.log)
        return time.monotonic() - begun


def leads(operator: Operator) -> bool:
    return "mora_leader 1.0" in operator.metrics()


@pytest.fixture
def pair(cluster: Cluster, tmp_path: Path) -> Iterator[Pair]:
    install(cluster)
    cluster.kubectl("-n", OWN_NAMESPACE, "delete", "lease", "--all")
    with FaultProxy(cluster) as proxy:
        pair = Pair(cluster, tmp_path, proxy)
        pair.start()
        yield pair
        for each in (pair.a, pair.b):
            if each.running:
                each.resume()
                each.stop()
            assert "Traceback" not in each.log
        assert not proxy.errors


def team_of(cluster: Cluster, operator: Operator, name: str) -> Team:
    cluster.kubectl("create", "namespace", name)
    return Team(cluster, operator, name)


def test_both_take_reports_and_a_leader_that_is_told_to_go_hands_over_at_once(cluster: Cluster, pair: Pair) -> None:
    team = team_of(cluster, pair.b, "both")
    team.apply_job("job")
    team.kuberay_says("job-a1", RUNNING)
    team.await_phase("job", "Running")

    def trusts_both() -> bool:
        own = Api(cluster, OWN_NAMESPACE).get("configmap", "mora-operator-authorities")
        trusted = team.await_object("configmap", "job-a1")["data"]["ca.crt"]
        return own is not None and all(own["data"].get(name, "?") in trusted for name in ("a", "b"))

    wait_until(trusts_both, 30, lambda: pair.a.log)
    assert not leads(pair.b)
    for operator, percentage in ((pair.a, 10), (pair.b, 20), (pair.a, 30), (pair.b, 40)):
        team.operator = operator
        result = {"rollouts": {"samples": percentage}} if operator is pair.a else None
        answer = team.report("job", {"progress": {"progressPercentage": percentage}, "result": result})
        assert answer.status_code == 200, answer.text
        seen = team.await_status(
            "job", lambda status, wanted=percentage: status.get("progress", {}).get("progressPercentage") == wanted
        )
    assert seen["rollouts"]["samples"] == 30, "what one replica wrote stays when the other one writes"

    assert pair.a.stop() == 0
    assert pair.await_takeover() < 5, "the lease was given back"
    team.operator = pair.b
    team.kuberay_says("job-a1", SUCCEEDED)
    team.await_phase("job", "Complete")


def kill(pair: Pair) -> None:
    pair.a.kill()


def cut(pair: Pair) -> None:
    pair.proxy.unplug()


@pytest.mark.parametrize("fate", [kill, cut])
def test_another_takes_over_in_time(cluster: Cluster, pair: Pair, fate: Callable[[Pair], None]) -> None:
    team = team_of(cluster, pair.b, fate.__name__)
    team.apply_job("before")
    team.kuberay_says("before-a1", RUNNING)
    team.await_phase("before", "Running")
    uid = team.await_object("rayjob", "before-a1")["metadata"]["uid"]
    fate(pair)
    team.apply_job("meanwhile")
    seconds = pair.await_takeover()
    print(f"{fate.__name__}: another replica leads after {seconds:.1f} s")
    assert seconds < TAKEOVER_SECONDS
    team.await_object("rayjob", "meanwhile-a1")
    assert team.await_object("rayjob", "before-a1")["metadata"]["uid"] == uid
    if fate is cut:
        assert pair.a.process is not None
        assert pair.a.process.wait(30) == 1, "who cannot renew ends, to be started anew"


def test_a_leader_that_was_stopped_and_goes_on_changes_nothing(cluster: Cluster, pair: Pair) -> None:
    """Stopped in the middle of its work: between the answer to one of its requests and the next one."""
    team = team_of(cluster, pair.b, "stopped")
    for index in range(4):
        team.apply_job(f"early-{index}")
        team.kuberay_says(f"early-{index}-a1", RUNNING)
        team.await_phase(f"early-{index}", "Running")
    # a is stopped when it has just created a RayJob, and knows of four that are about to end.
    trap = pair.proxy.trap(pair.a.suspend, lambda call: call.what == "create rayjobs")
    for index in range(4):
        team.apply_job(f"late-{index}")
    assert trap.sprung.wait(30)
    for index in range(4):
        team.kuberay_says(f"early-{index}-a1", SUCCEEDED)
    assert pair.await_takeover() < TAKEOVER_SECONDS
    for index in range(4):
        team.await_phase(f"early-{index}", "Complete")
        team.kuberay_says(f"late-{index}-a1", RUNNING)
        team.await_phase(f"late-{index}", "Running")

    before, asked = versions(team), len(pair.proxy.calls)
    pair.a.resume()
    assert pair.a.process is not None
    assert pair.a.process.wait(40) == 1
    assert versions(team) == before
    accepted = [
        call for call in pair.proxy.calls[asked:]
        if call.writes and call.namespace == team.name and call.upstream < 300
    ]  # fmt: skip
    assert not accepted, [call.what for call in accepted]
    check_patches(pair.proxy)


def versions(team: Team) -> dict[str, str]:
    """uid and resourceVersion of all that the operator writes."""
    found = {}
    for kind in WATCHED:
        listed = team.get(kind)
        assert listed is not None
        for item in listed["items"]:
            found[f"{kind}/{item['metadata']['name']}"] = (
                f"{item['metadata']['uid']} {item['metadata']['resourceVersion']}"
            )
    return found


def check_patches(proxy: FaultProxy) -> None:
    """Every PATCH names the version that it was decided on; every DELETE too; no create leaves the name to the server."""
    patches = [call for call in proxy.calls if call.verb == "patch"]
    assert patches
    assert all(call.body["metadata"].get("resourceVersion") for call in patches)
    deletes = [call for call in proxy.calls if call.verb == "delete"]
    assert all(call.body["preconditions"].keys() == {"uid", "resourceVersion"} for call in deletes)
    creates = [call for call in proxy.calls if call.verb == "create" and call.resource != "tokenreviews"]
    assert all(call.body["metadata"].get("name") for call in creates)
