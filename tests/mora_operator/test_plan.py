"""plan(): a table of what is seen and what is decided."""

from datetime import timedelta
from typing import Any

import pytest
from builders import (
    EARLIER,
    KEY,
    NOW,
    SETTINGS,
    UID,
    condition,
    observed,
    rayjob,
    rollout_job,
    workload,
)
from hypothesis import given
from hypothesis import strategies as st

from mora_jobs.api import CommonStatus, Job, Phase
from mora_operator.plan.obstacles import Obstacle
from mora_operator.plan.plan import Plan, plan
from mora_operator.plan.references import References
from mora_operator.plan.status import changes, stalled
from mora_operator.plan.view import Observed
from mora_operator.resources import JobKey

INITIALIZING = {"jobDeploymentStatus": "Initializing", "rayClusterName": "tiny-a1-x"}
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "tiny-a1-x", "jobId": "j"}
SUCCEEDED = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "endTime": "2026-11-22T11:50:00Z"}
FAILED = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}
REPORTED = {"lastUpdatedTime": "2026-11-22T11:59:50Z"}
OTHER = JobKey("RolloutJob", "team-a", "other")


def decide(job: Job, seen: Observed) -> Plan:
    return plan(job, seen, SETTINGS, NOW)


def conditions(status: dict[str, Any] | None) -> dict[str, str]:
    assert status is not None
    return {each["type"]: each["status"] for each in status["conditions"]}


def true_ones(status: dict[str, Any] | None) -> set[str]:
    return {kind for kind, value in conditions(status).items() if value == "True"}


def waiting_for(**status: Any) -> References:
    return References((OTHER,), ((OTHER, {"metadata": {}, "spec": {}, "status": status}),))


@pytest.mark.parametrize(
    ("job", "seen", "phase", "true", "start"),
    [
        pytest.param(rollout_job(), observed(), "Provisioning", {"InputsReady", "Reconciling"}, 1, id="new"),
        pytest.param(
            rollout_job(), observed(rayjob(**INITIALIZING)), "Provisioning", {"InputsReady", "Reconciling"}, None,
            id="cluster is made",
        ),
        pytest.param(
            rollout_job(), observed(rayjob(**RUNNING), progress=REPORTED), "Running", {"InputsReady", "Ready", "ClusterReady"},
            None, id="runs",
        ),
        pytest.param(
            rollout_job(), observed(rayjob(**RUNNING)), "Running", {"InputsReady", "Ready", "ClusterReady", "Degraded"}, None,
            id="runs, and nothing was heard of it for an hour",
        ),
        pytest.param(
            rollout_job(),
            observed(
                rayjob(**RUNNING, rayClusterStatus={"desiredWorkerReplicas": 2, "readyWorkerReplicas": 1}),
                progress=REPORTED, conditions=[condition("ClusterReady")],
            ),
            "Running", {"InputsReady", "Ready", "Degraded"}, None, id="a worker was lost",
        ),
        pytest.param(
            rollout_job(),
            observed(rayjob(**RUNNING, rayClusterStatus={"desiredWorkerReplicas": 2, "readyWorkerReplicas": 1}), progress=REPORTED),
            "Running", {"InputsReady", "Ready"}, None, id="a worker does not answer yet",
        ),
        pytest.param(
            rollout_job(), observed(rayjob(suspend=True), queue="q"), "Queued", {"InputsReady", "Reconciling"}, None,
            id="Kueue has not seen it",
        ),
        pytest.param(
            rollout_job(), observed(rayjob(suspend=True, jobDeploymentStatus="Suspended"), queue="q", workload=workload()),
            "Queued", {"InputsReady", "Reconciling"}, None, id="waits for quota",
        ),
        pytest.param(
            rollout_job(), observed(rayjob(suspend=True, **RUNNING), queue="q", workload=workload(condition("Evicted"))),
            "Queued", {"InputsReady", "Reconciling"}, None, id="was preempted",
        ),
        pytest.param(
            rollout_job(), observed(rayjob(**INITIALIZING), queue="q", workload=workload(condition("QuotaReserved"))),
            "Provisioning", {"InputsReady", "Reconciling", "QuotaReserved"}, None, id="has its quota",
        ),
        pytest.param(
            rollout_job(), observed(rayjob(**INITIALIZING), obstacle=Obstacle("PodsUnschedulable", "no node", False)),
            "Provisioning", {"InputsReady", "Reconciling"}, None, id="no node for it yet",
        ),
        pytest.param(
            rollout_job(), observed(rayjob(**INITIALIZING), obstacle=Obstacle("SecretNotFound", "hf")),
            "Provisioning", {"InputsReady", "Stalled"}, None, id="a Secret is missing",
        ),
        pytest.param(
            rollout_job(), observed(rayjob(**SUCCEEDED)), "Complete", {"InputsReady", "Ready", "Complete"}, None,
            id="succeeded",
        ),
        pytest.param(
            rollout_job(backoffLimit=0), observed(rayjob(**FAILED)),
            "Failed", {"InputsReady", "Stalled", "Failed"}, None, id="failed",
        ),
        pytest.param(
            rollout_job(), observed(rayjob(**FAILED)), "Retrying", {"InputsReady", "Reconciling"}, None, id="is tried again",
        ),
        pytest.param(
            rollout_job(backoffLimit=0), observed(rayjob(jobDeploymentStatus="Complete", jobStatus="STOPPED")),
            "Failed", {"InputsReady", "Stalled", "Failed"}, None, id="stopped is no success",
        ),
        pytest.param(
            rollout_job(output={"uri": "file://runs/x"}), observed(), "Stalled", {"InputsReady", "Stalled"}, None,
            id="relative URI",
        ),
        pytest.param(
            rollout_job(prompts={"rolloutJobRef": {"name": "other"}}), observed(references=References((OTHER,))),
            "Waiting", {"Reconciling"}, None, id="reference is absent",
        ),
        pytest.param(
            rollout_job(prompts={"rolloutJobRef": {"name": "other"}}),
            observed(references=waiting_for(conditions=[condition("Complete", "False")])),
            "Waiting", {"Ready"}, None, id="reference is unfinished: ready, so that helm --wait does not hang",
        ),
        pytest.param(
            rollout_job(prompts={"rolloutJobRef": {"name": "other"}}),
            observed(references=waiting_for(conditions=[condition("Failed")])),
            "Waiting", {"Stalled"}, None, id="reference has failed",
        ),
        pytest.param(
            rollout_job(prompts={"rolloutJobRef": {"name": "other"}}),
            observed(references=waiting_for(conditions=[condition("Complete")])),
            "Provisioning", {"InputsReady", "Reconciling"}, 1, id="reference is complete",
        ),
        pytest.param(
            rollout_job(prompts={"rolloutJobRef": {"name": "tiny"}}),
            observed(references=References((KEY,), (), cycle=True)), "Stalled", {"Stalled"}, None, id="cycle",
        ),
        pytest.param(rollout_job(suspend=True), observed(), "Suspended", {"InputsReady", "Ready", "Suspended"}, None, id="suspended"),
        pytest.param(
            rollout_job(), observed(attempts={"current": 1}, phase="Suspended"), "Provisioning",
            {"InputsReady", "Reconciling"}, 2, id="resumed",
        ),
    ],
)  # fmt: skip
def test_each_state_has_one_phase_and_its_conditions(
    job: Job, seen: Observed, phase: str, true: set[str], start: int | None
) -> None:
    if phase == "Waiting" and true == {"Stalled"}:
        phase = "Stalled"
    decided = decide(job, seen)
    assert decided.status is not None
    assert decided.status["phase"] == phase
    assert true_ones(decided.status) == true
    assert decided.start == start


@pytest.mark.parametrize(
    ("status", "exit_record", "expected"),
    [
        ({"reason": "AppFailed"}, None, ("App", "AppFailed")),
        ({"reason": "SubmissionFailed"}, None, ("Infra", "SubmissionFailed")),
        ({"reason": "JobDeploymentStatusTransitionGracePeriodExceeded"}, None, ("Infra", "JobDeploymentStatusTransitionGracePeriodExceeded")),
        ({"reason": "JobStatusCheckTimeoutExceeded"}, None, ("Infra", "JobStatusCheckTimeoutExceeded")),
        ({"reason": "DeadlineExceeded"}, None, ("Deadline", "DeadlineExceeded")),
        ({"reason": "PreRunningDeadlineExceeded"}, None, ("Deadline", "PreRunningDeadlineExceeded")),
        ({"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed"}, None, ("App", "ValidationFailed")),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, None, ("App", "DriverStopped")),
        (
            {"reason": "AppFailed", "jobStatus": "RUNNING", "message": "Submitter completed but Ray job not found in RayCluster."},
            None, ("Infra", "HeadPodLost"),
        ),
        (
            {"reason": "AppFailed"}, {"class": "UserError", "reason": "CallableNotFound", "message": "no such", "attempt": 1},
            ("UserError", "CallableNotFound"),
        ),
        (
            {"reason": "AppFailed"}, {"class": "UserError", "reason": "CallableNotFound", "message": "", "attempt": 7},
            ("App", "AppFailed"),
        ),
    ],
)  # fmt: skip
def test_failures_are_classified(
    status: dict[str, Any], exit_record: dict[str, Any] | None, expected: tuple[str, str]
) -> None:
    failed = rayjob(**({"jobDeploymentStatus": "Failed", "jobStatus": "FAILED"} | status))
    seen = observed(failed, **({"exit": exit_record} if exit_record else {}))
    decided = decide(rollout_job(), seen)
    assert decided.status is not None
    past = decided.status["attemptHistory"][0]
    assert (past["class"], past["reason"]) == expected
    assert past["index"] == 1


def test_a_finished_job_is_left_alone_whatever_its_rayjob_does() -> None:
    done = [condition("Complete")]
    seen = observed(rayjob(jobDeploymentStatus="Failed"), conditions=done, observedGeneration=1, phase="Complete")
    assert decide(rollout_job(), seen) == Plan()


def test_a_finished_job_still_shows_that_its_generation_was_seen() -> None:
    seen = Observed(status={"conditions": [condition("Complete")], "observedGeneration": 1}, generation=2)
    decided = decide(rollout_job(), seen)
    assert decided.status is not None
    assert decided.status["observedGeneration"] == 2
    assert decided.status["conditions"][0]["observedGeneration"] == 2


def test_a_job_that_is_deleted_gets_nothing() -> None:
    assert decide(rollout_job(), observed(deleting=True)) == Plan()


def test_an_attempt_made_before_a_crash_is_adopted() -> None:
    """The operator died between the create and the status write: the RayJob counts, status does not."""
    decided = decide(rollout_job(), observed(rayjob(**RUNNING)))
    assert decided.start is None
    assert decided.status is not None
    assert decided.status["attempts"]["current"] == 1
    assert decided.status["currentAttempt"]["rayClusterName"] == "tiny-a1-x"


def test_start_time_is_kept_and_completion_time_is_kuberays() -> None:
    seen = observed(rayjob(**SUCCEEDED), startTime=EARLIER)
    status = decide(rollout_job(), seen).status
    assert status is not None
    assert "startTime" not in status
    assert status["completionTime"] == SUCCEEDED["endTime"]


def test_what_was_decided_is_not_written_twice() -> None:
    """Level-triggered: applying a plan's status and looking again, later, changes nothing."""
    for seen in (observed(rayjob(**RUNNING)), observed(rayjob(**INITIALIZING))):
        status = decide(rollout_job(), seen).status
        assert status is not None
        again = Observed(status=status, generation=1, rayjobs=seen.rayjobs)
        later = plan(rollout_job(), again, SETTINGS, NOW + timedelta(hours=1)).status
        assert later is not None
        assert changes(status, later) == {}


def test_what_the_driver_linked_to_stays_beside_the_dashboard() -> None:
    left = {"logs": "s3://bucket/run/driver.log", "report": "s3://bucket/run/report.html"}
    running = rayjob(**RUNNING, dashboardURL="tiny-head:8265")
    status = decide(rollout_job(), observed(running, links=left)).status
    assert status is not None
    assert status["links"] == left | {"dashboardURL": "http://tiny-head:8265"}


def test_a_spec_that_cannot_be_read_is_stalled() -> None:
    status = stalled(observed(), NOW, "InvalidSpec", "spec.model: missing")
    assert true_ones(status) == {"InputsReady", "Stalled"}


deployment = st.sampled_from(
    ["", "Initializing", "Waiting", "Running", "Complete", "Failed", "Retrying", "Suspended", "ValidationFailed"]
)
job_status = st.sampled_from(["", "PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"])


@given(deployment, job_status, st.booleans(), st.booleans(), st.integers(0, 3))
def test_whatever_kuberay_says_the_status_is_valid_and_ready_is_derived(
    deployment: str, job_status: str, deleting: bool, suspend: bool, current: int
) -> None:
    one = rayjob(max(current, 1), deleting=deleting, jobDeploymentStatus=deployment, jobStatus=job_status)
    seen = observed(one, attempts={"current": current, "failed": 0, "infraRestarts": 0})
    decided = decide(rollout_job(suspend=suspend), seen)
    assert decided.status is not None
    CommonStatus.model_validate(decided.status)
    values = conditions(decided.status)
    assert (values["Ready"] == "True") == (values["Reconciling"] == "False" and values["Stalled"] == "False")
    assert not (values["Complete"] == "True" and values["Failed"] == "True")
    assert decided.start is None, "a live RayJob must never be doubled"
    assert Phase(decided.status["phase"])


def test_a_job_that_waits_says_for_what() -> None:
    def quota(seen: Observed) -> dict[str, Any]:
        decided = decide(rollout_job(), seen)
        assert decided.status is not None
        return {"queue": decided.status.get("queue")} | {
            each["type"]: each for each in decided.status["conditions"] if each["type"] in ("QuotaReserved", "Ready")
        }

    pending = condition("QuotaReserved", "False") | {
        "reason": "Pending",
        "message": "couldn't assign flavors: insufficient cpu",
    }
    waits = quota(observed(rayjob(suspend=True), queue="gpu-queue", workload=workload(pending)))
    assert waits["queue"] == {"workloadName": "rayjob-tiny-a1-x", "localQueue": "gpu-queue", "reason": "Pending"}
    assert waits["Ready"]["reason"] == "WaitingForQuota"
    assert "insufficient cpu" in waits["Ready"]["message"]
    assert waits["QuotaReserved"]["status"] == "False"
    external = quota(observed(rayjob(suspend=True)))
    assert (external["Ready"]["reason"], external["QuotaReserved"]["status"]) == ("ManagedExternally", "Unknown")
    assert quota(observed(rayjob(**RUNNING)))["QuotaReserved"]["reason"] == "NotQueued"


def test_time_in_a_queue_does_not_count() -> None:
    """Neither towards the deadline before running, nor towards that of the job."""
    spec = {"preRunningDeadlineSeconds": 60, "activeDeadlineSeconds": 100}
    waits = decide(rollout_job(**spec), observed(rayjob(suspend=True), queue="q"))
    assert waits.status is not None
    assert waits.status["phase"] == "Queued"
    begun = "2026-11-22T11:59:30Z"
    admitted = decide(rollout_job(**spec), observed(rayjob(**INITIALIZING, startTime=begun), queue="q"))
    assert admitted.status is not None
    assert admitted.status["phase"] == "Provisioning"
    assert admitted.again == 60.0, "30 of 60 seconds are over, 30 are KubeRay's own; the job has 70 left"


def test_what_kuberay_refused_is_deleted_when_it_is_recorded() -> None:
    """It would look at it every 3 seconds for ever (and never takes it up again)."""
    refused = rayjob(jobDeploymentStatus="ValidationFailed", reason="ValidationFailed")
    recorded = decide(rollout_job(), observed(refused))
    assert recorded.status is not None
    assert (recorded.status["phase"], recorded.stop) == ("Failed", ())
    after = Observed(status=recorded.status, generation=1, rayjobs=(refused,))
    assert plan(rollout_job(), after, SETTINGS, NOW).stop == (refused,)


def test_the_uid_decides_whose_rayjob_it_is() -> None:
    assert rayjob().owner_uid == UID
