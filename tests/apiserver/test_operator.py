"""The operator on a real API server with KubeRay's schema. The test plays KubeRay: it writes the RayJobs' status."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from control_plane import Cluster
from operator_process import Operator, install, running_operator, wait_until
from team import FAILED, INITIALIZING, RUNNING, SECONDS, SUCCEEDED, Team

EXIT = {"class": "Success", "reason": "Complete", "message": ""}


@pytest.fixture(scope="module")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    install(cluster)
    with running_operator(cluster, tmp_path_factory.mktemp("operator")) as operator:
        yield operator
        assert not operator.count("mora_api_requests_total", code="403"), "the chart's rights are not enough"
        assert "Traceback" not in operator.log


@pytest.fixture(scope="module")
def team(cluster: Cluster, operator: Operator) -> Team:
    cluster.kubectl("create", "namespace", "team")
    return Team(cluster, operator, "team")


def test_the_life_of_a_job(team: Team) -> None:
    team.apply_job("life")
    rayjob = team.await_object("rayjob", "life-a1")
    job = team.get("rolloutjob", "life")
    assert job is not None
    assert rayjob["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    assert team.await_phase("life", "Provisioning")["currentAttempt"]["rayJobName"] == "life-a1"
    for kind, name in (("configmap", "life-a1"), ("serviceaccount", "life-rlj"), ("networkpolicy", "life-rlj")):
        assert team.get(kind, name) is not None, kind

    team.kuberay_says("life-a1", INITIALIZING)
    team.kuberay_says("life-a1", RUNNING)
    running = team.await_phase("life", "Running")
    assert running["currentAttempt"]["rayClusterName"] == "x-a1-c"

    counts = {
        "prompts": {"total": 8, "completed": 4, "failed": 0},
        "samples": 16,
        "tokens": {"prompt": 9, "generated": 9},
    }
    progress = {"progressPercentage": 50, "completed": 4, "total": 8, "unit": "Prompts", "stage": "Rollouts"}
    metrics = [{"name": "prompts_per_second", "value": "2"}]
    answer = team.report("life", {"progress": progress, "metrics": metrics, "result": {"rollouts": counts}})
    assert (answer.status_code, answer.json()) == (200, {"desired": "Continue"})
    seen = team.await_status("life", lambda status: "progress" in status)
    assert seen["progress"]["progressPercentage"] == 50
    assert seen["rollouts"]["samples"] == 16
    assert seen["phase"] == "Running"

    outputs = [{"name": "rollouts", "uri": "file:///mnt/mora/volumes/data/runs/life/rollouts", "items": 8}]
    links = {"report": "file:///mnt/mora/volumes/data/runs/life/report.html"}
    assert team.report("life", {"outputs": outputs, "links": links, "exit": EXIT}).status_code == 200
    kept = team.status("life")  # the last report is written before it is acknowledged
    assert kept["exit"] == EXIT | {"attempt": 1}
    assert kept["outputs"][0]["uri"] == "pvc://data/runs/life/rollouts"
    assert kept["links"]["report"] == "pvc://data/runs/life/report.html"
    assert kept["rollouts"]["samples"] == 16, "what was reported before stays"

    team.kuberay_says("life-a1", SUCCEEDED)
    done = team.await_phase("life", "Complete")
    assert done["links"]["report"] == kept["links"]["report"]
    conditions = {condition["type"]: condition["status"] for condition in done["conditions"]}
    assert conditions["Complete"] == conditions["Ready"] == "True"
    assert conditions["Failed"] == conditions["Stalled"] == conditions["Reconciling"] == "False"
    assert done["observedGeneration"] == 1
    team.kubectl("wait", "--for=condition=Complete", "rolloutjob/life", "--timeout=1s")
    events = team.get("event")
    assert events is not None
    told = [event["reason"] for event in events["items"] if event["regarding"]["name"] == "life"]
    assert {"ProvisioningCluster", "Running", "Complete"} <= set(told)
    assert len(told) == len(set(told)), "each thing is told once"
    wide = team.kubectl("get", "rlj", "life", "-o", "wide").splitlines()
    assert wide[1].split()[:4] == ["life", "Complete", "50", "1"]
    job = team.get("rolloutjob", "life")
    assert job is not None
    assert job["metadata"]["generation"] == 1, "nothing is written back into spec"
    assert "finalizers" not in job["metadata"]
    assert not [key for key in job["metadata"].get("annotations", {}) if "kopf" in key]


def test_a_failed_driver_is_explained_by_its_own_record(team: Team) -> None:
    team.apply_job("mistake")
    team.kuberay_says("mistake-a1", RUNNING)
    team.await_phase("mistake", "Running")
    record = {"class": "UserError", "reason": "CallableNotFound", "message": "rewards:length: no module named rewards"}
    assert team.report("mistake", {"exit": record}).status_code == 200
    team.kuberay_says("mistake-a1", FAILED)
    failed = team.await_phase("mistake", "Failed")
    assert failed["attemptHistory"][0]["class"] == "UserError"
    stalled = next(condition for condition in failed["conditions"] if condition["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "CallableNotFound")
    assert "no module named rewards" in stalled["message"]


def test_only_the_pods_of_an_attempt_may_report_for_it(team: Team) -> None:
    for name in ("mine", "theirs"):
        team.apply_job(name)
        team.kuberay_says(f"{name}-a1", RUNNING)
        team.await_phase(name, "Running")
    body = {"progress": {"progressPercentage": 1}}

    def refused(token: str, attempt: int = 1) -> int:
        return team.report("mine", body, token, attempt).status_code

    team.api.create("serviceaccount", {"metadata": {"name": "somebody"}})
    audience = team.audience("mine")
    assert refused("not-a-token") == 401
    assert refused(team.token("theirs-rlj", team.audience("theirs"))) == 401, "another job's token"
    assert refused(team.token("mine-rlj", "https://kubernetes.default.svc")) == 401, "a token for the API server"
    assert refused(team.token("mine-rlj", team.audience("mine", 2))) == 401, "another attempt's token"
    assert refused(team.token("somebody", audience)) == 403, "another ServiceAccount"
    assert refused(team.token("mine-rlj", team.audience("mine", 2)), 2) == 409, "an attempt that has not begun"
    own = team.token("mine-rlj", audience)
    assert team.report("mine", body, own).status_code == 200
    for bad, status in (
        (b"{", 400),
        (b'{"unknown": 1}', 400),
        (b'{"result": {"pareto": {}}}', 400),
        (b'{"progress": {"progressPercentage": 101}}', 400),
        (b'{"progress": {"stage": "' + b"x" * 70_000 + b'"}}', 413),
    ):
        assert team.report("mine", bad, own).status_code == status, bad[:40]
    url = f"{team.operator.progress}/team/rolloutjobs/absent/1"
    assert httpx.post(url, headers={"Authorization": f"Bearer {own}"}, verify=team.trust("mine-a1")).status_code == 404


def test_transformers_own_callback_is_understood(team: Team) -> None:
    team.apply_job("trainer")
    team.kuberay_says("trainer-a1", RUNNING)
    team.await_phase("trainer", "Running")
    status = {"progressPercentage": 42, "estimatedRemainingSeconds": 7, "metrics": [{"name": "loss", "value": "0.69"}]}
    sent = {"trainerStatus": status | {"lastUpdatedTime": "2026-11-22T04:00:00+00:00"}}
    assert team.report("trainer", sent).status_code == 200
    seen = team.await_status("trainer", lambda status: "progress" in status)
    assert (seen["progress"]["progressPercentage"], seen["metrics"][0]["name"]) == (42, "loss")


def test_an_operator_that_dies_and_comes_back_goes_on(team: Team) -> None:
    team.apply_job("crash")
    team.kuberay_says("crash-a1", RUNNING)
    team.await_phase("crash", "Running")
    before = team.get("rayjob", "crash-a1")
    assert before is not None
    team.report("crash", {"progress": {"progressPercentage": 10}, "result": {"rollouts": {"samples": 3}}})
    team.await_status("crash", lambda status: "progress" in status)
    authority = team.get("configmap", "crash-a1")
    assert authority is not None

    team.operator.kill()
    team.kuberay_says("crash-a1", RUNNING | {"message": "changed while nobody looked"})
    team.apply_job("arrived")
    team.operator.start()

    team.await_object("rayjob", "arrived-a1")

    def is_renewed() -> bool:
        config = team.get("configmap", "crash-a1")
        assert config is not None
        return bool(config["data"]["ca.crt"] != authority["data"]["ca.crt"])

    wait_until(is_renewed, SECONDS, lambda: team.operator.log[-2000:])
    assert team.report("crash", {"progress": {"progressPercentage": 20}}).status_code == 200, "pods trust the new one"
    seen = team.await_status("crash", lambda status: status["progress"]["progressPercentage"] == 20)
    assert seen["rollouts"]["samples"] == 3, "a new operator does not wipe what the old one had written"
    after = team.get("rayjob", "crash-a1")
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert team.get("rayjob", "crash-a2") is None


def test_a_failed_attempt_is_followed_by_another_after_a_wait(team: Team) -> None:
    team.apply_job("again")
    team.kuberay_says("again-a1", RUNNING)
    team.await_phase("again", "Running")
    team.kuberay_says("again-a1", FAILED)
    retrying = team.await_phase("again", "Retrying")
    assert retrying["attempts"] == {"current": 1, "failed": 1, "infraRestarts": 0}
    assert {each["type"]: each["status"] for each in retrying["conditions"]}["Failed"] == "False"
    team.await_object("rayjob", "again-a2")
    assert team.get("rayjob", "again-a1") is None
    team.kuberay_says("again-a2", RUNNING)
    team.kuberay_says("again-a2", SUCCEEDED)
    done = team.await_phase("again", "Complete")
    assert done["attempts"] == {"current": 2, "failed": 1, "infraRestarts": 0}
    assert [past["reason"] for past in done["attemptHistory"]] == ["AppFailed"]


def test_suspending_lets_the_driver_save_and_resuming_makes_the_next(team: Team) -> None:
    team.apply_job("pause")
    team.kuberay_says("pause-a1", RUNNING)
    team.await_phase("pause", "Running")
    assert team.report("pause", {"progress": {"progressPercentage": 10}}).json() == {"desired": "Continue"}
    team.api.merge("rolloutjob", "pause", {"spec": {"suspend": True}})
    team.await_phase("pause", "Suspending")

    def is_told_to_stop() -> bool:
        return bool(team.report("pause", {"progress": {"progressPercentage": 20}}).json() == {"desired": "Stop"})

    wait_until(is_told_to_stop, SECONDS, lambda: team.operator.log[-2000:])
    assert team.get("rayjob", "pause-a1") is not None, "it has time to save"
    stopped = {"class": "Infra", "reason": "Stopped", "message": "stopped as it was asked to"}
    assert team.report("pause", {"exit": stopped}).status_code == 200
    suspended = team.await_phase("pause", "Suspended")
    assert suspended["observedGeneration"] == 2
    assert suspended["attemptHistory"][0]["lostSeconds"] == 0
    assert team.get("rayjob", "pause-a1") is None
    team.api.merge("rolloutjob", "pause", {"spec": {"suspend": False}})
    team.await_object("rayjob", "pause-a2")
    resumed = team.await_status("pause", lambda status: status["attempts"]["current"] == 2)
    assert resumed["attempts"]["infraRestarts"] == 0


def test_a_finished_job_goes_after_its_time(team: Team) -> None:
    team.apply_job("brief", ttlSecondsAfterFinished=1)
    team.kuberay_says("brief-a1", RUNNING)
    team.await_phase("brief", "Running")
    team.kuberay_says("brief-a1", SUCCEEDED)
    gone = wait_until(lambda: team.get("rolloutjob", "brief") is None, SECONDS, lambda: team.operator.log[-3000:])
    assert gone


def test_a_rayjob_deleted_from_outside_is_replaced(team: Team) -> None:
    team.apply_job("lost")
    team.kuberay_says("lost-a1", RUNNING)
    team.await_phase("lost", "Running")
    team.api.delete("rayjob", "lost-a1")
    team.await_object("rayjob", "lost-a2")
    status = team.await_status("lost", lambda status: status["attempts"]["current"] == 2)
    assert status["attempts"]["infraRestarts"] == 1
    assert status["attemptHistory"][0]["class"] == "ExternalDeletion"


def test_somebody_elses_object_is_not_touched(team: Team) -> None:
    team.api.create("configmap", {"metadata": {"name": "taken-a1"}, "data": {"key": "value"}})
    team.apply_job("taken")
    stalled = team.await_phase("taken", "Stalled")
    assert next(each for each in stalled["conditions"] if each["type"] == "Stalled")["reason"] == "NameTaken"
    theirs = team.get("configmap", "taken-a1")
    assert theirs is not None
    assert theirs["data"] == {"key": "value"}
    team.api.delete("configmap", "taken-a1")
    team.await_object("rayjob", "taken-a1")


def test_references_are_waited_for(team: Team) -> None:
    team.apply_job("second", prompts={"rolloutJobRef": {"name": "first"}})
    assert team.await_phase("second", "Waiting")["conditions"]
    team.apply_job("first")
    team.kuberay_says("first-a1", RUNNING)
    waiting = team.await_status(
        "second", lambda status: any(each["reason"] == "WaitingForInputs" for each in status["conditions"])
    )
    conditions = {each["type"]: each["status"] for each in waiting["conditions"]}
    assert (conditions["Ready"], conditions["InputsReady"]) == ("True", "False")
    assert team.get("rayjob", "second-a1") is None
    team.kuberay_says("first-a1", SUCCEEDED)
    config = team.await_object("configmap", "second-a1")
    resolved = json.loads(config["data"]["job.json"])
    assert [job["metadata"]["name"] for job in resolved["references"]] == ["first"]


def test_what_cannot_run_in_a_cluster_is_stalled_until_it_is_deleted(team: Team) -> None:
    team.apply_job("relative", output={"uri": "file://runs/x"})
    stalled = team.await_phase("relative", "Stalled")
    ready = next(each for each in stalled["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "RelativeURI")
    assert "spec.output.uri" in ready["message"]
    assert team.get("rayjob", "relative-a1") is None


def test_a_driver_that_reports_too_often_is_told_to_wait(team: Team) -> None:
    team.apply_job("chatty")
    team.kuberay_says("chatty-a1", RUNNING)
    team.await_phase("chatty", "Running")
    token = team.token("chatty-rlj", team.audience("chatty"))
    writes = team.operator.count("mora_api_requests_total", verb="PATCH", resource="rolloutjobs")
    for percentage in range(1, 11):
        team.report("chatty", {"progress": {"progressPercentage": percentage}}, token)
    team.await_status("chatty", lambda status: status.get("progress", {}).get("progressPercentage") == 10)
    written = team.operator.count("mora_api_requests_total", verb="PATCH", resource="rolloutjobs") - writes
    assert written <= 5, "several reports become one write"
    answers = [team.report("chatty", {"progress": {"progressPercentage": 11}}, token) for _ in range(30)]
    told = [answer for answer in answers if answer.status_code == 429]
    assert told
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in told)
    assert team.report("chatty", {"exit": EXIT}, token).status_code == 200, "how it ended is always taken"


def test_a_result_that_is_too_large_is_cut_and_said(team: Team) -> None:
    team.apply_job("large")
    team.kuberay_says("large-a1", RUNNING)
    team.await_phase("large", "Running")
    curves = [
        {"k": k, "reach": {f"dimension-{i:02}-{'x' * 50}": "9" * 64 for i in range(16)}, "joint": "0", "balance": "0"}
        for k in range(1, 13)
    ]
    correlations = [["9" * 64] * 16] * 16
    figures = dict.fromkeys(("mean", "stddev", "p10", "p90", "entropy", "weight"), "9" * 64)
    rewards = [{"name": f"r{i}"} | figures for i in range(16)]
    result = {"curves": curves, "correlations": correlations, "rewards": rewards}
    answer = team.report("large", {"result": result, "exit": EXIT})
    assert answer.status_code == 200, answer.text
    status = team.status("large")
    truncated = next(each for each in status["conditions"] if each["type"] == "Truncated")
    assert (truncated["status"], truncated["reason"]) == ("True", "CurvesTruncated")
    assert "curves" not in status
    assert len(json.dumps(status, ensure_ascii=False, separators=(",", ":")).encode()) < 65_536
    team.kuberay_says("large-a1", SUCCEEDED)
    done = team.await_phase("large", "Complete")
    assert {each["type"]: each["status"] for each in done["conditions"]}["Truncated"] == "True"


def test_what_keeps_pods_from_coming_up_is_said_and_passes(team: Team) -> None:
    """The test plays the kubelet: it writes a pod's status."""
    team.apply_job("pulls")
    kubelet_says = team.head_pod("pulls-a1")
    kubelet_says({"waiting": {"reason": "ImagePullBackOff", "message": "no/such:1 was not found"}})
    begun = INITIALIZING | {"startTime": "2026-11-22T11:00:00Z"}
    team.kuberay_says("pulls-a1", begun)
    stalled = team.await_status("pulls", lambda status: ready_reason(status) == "ImagePullFailed")
    conditions = {each["type"]: each["status"] for each in stalled["conditions"]}
    assert (stalled["phase"], conditions["Stalled"]) == ("Provisioning", "True")
    assert (
        "no/such:1 was not found" in next(each for each in stalled["conditions"] if each["type"] == "Ready")["message"]
    )
    kubelet_says({"running": {}})
    team.kuberay_says("pulls-a1", begun | {"message": "an event, so that it is looked at"})
    team.await_status("pulls", lambda status: ready_reason(status) == "ProvisioningCluster")


def test_a_pod_that_was_killed_at_its_memory_limit_is_told_from_a_lost_one(team: Team) -> None:
    team.apply_job("memory", backoffLimit=0)
    team.kuberay_says("memory-a1", RUNNING)
    team.await_phase("memory", "Running")
    team.head_pod("memory-a1")({"terminated": {"reason": "OOMKilled", "exitCode": 137}})
    team.kuberay_says("memory-a1", FAILED | {"jobStatus": "RUNNING", "reason": "JobStatusCheckTimeoutExceeded"})
    failed = team.await_phase("memory", "Failed")
    assert failed["attempts"] == {"current": 1, "failed": 1, "infraRestarts": 0}
    assert ready_reason(failed) == "OutOfMemory"


def ready_reason(status: dict[str, Any]) -> str:
    return next((str(each["reason"]) for each in status["conditions"] if each["type"] == "Ready"), "")


def test_it_ends_when_it_is_told_to(team: Team) -> None:
    assert team.operator.stop() == 0
    team.operator.start()
