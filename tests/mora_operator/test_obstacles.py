"""Why pods do not come up, as kubelet, scheduler and KubeRay say it (texts as they were seen on real clusters)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from builders import NOW, SETTINGS, observed, rayjob, rollout_job

from mora_operator.plan.obstacles import Obstacle, found, was_killed_for_memory
from mora_operator.plan.plan import plan
from mora_operator.times import text_of


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "tiny-a1-head"}, "status": {"phase": "Pending"} | status}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    container = {"name": "ray-head", "image": "x:1", "state": {"waiting": {"reason": reason, "message": message}}}
    return pod(containerStatuses=[container])


def unschedulable(message: str) -> dict[str, Any]:
    return pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}])


def event(reason: str, note: str, seconds_ago: int = 30) -> dict[str, Any]:
    last = text_of(NOW - timedelta(seconds=seconds_ago))
    return {
        "metadata": {},
        "reason": reason,
        "note": note,
        "regarding": {"name": "y"},
        "deprecatedLastTimestamp": last,
    }


CASES = [
    (waiting("ErrImagePull", 'failed to pull and unpack image "x:1": not found'), None, "ImagePullFailed", True),
    (waiting("ImagePullBackOff"), None, "ImagePullFailed", True),
    (waiting("CreateContainerConfigError", 'secret "hf" not found'), None, "SecretNotFound", True),
    (waiting("CreateContainerConfigError", "couldn't find key token in Secret team/hf"), None, "SecretNotFound", True),
    (waiting("CreateContainerConfigError", 'configmap "code" not found'), None, "ConfigMapNotFound", True),
    (waiting("CreateContainerConfigError", "cannot run as root"), None, "ContainerConfigInvalid", True),
    (unschedulable("0/1 nodes are available: 1 Insufficient nvidia.com/gpu."), None, "PodsUnschedulable", False),
    (unschedulable('0/1 nodes: persistentvolumeclaim "data" not found.'), None, "VolumeClaimNotFound", True),
    (pod(), event("FailedMount", 'MountVolume.SetUp failed for volume "x" : secret "hf" not found'), "SecretNotFound", True),
    (pod(), event("FailedMount", 'MountVolume.SetUp failed: configmap "code" not found'), "ConfigMapNotFound", True),
    (pod(), event("FailedMount", "MountVolume.SetUp failed: references non-existent secret key: k"), "SecretNotFound", True),
    (
        None, event("FailedToCreateHeadPod", 'pods "x" is forbidden: exceeded quota: small, requested: cpu=1'),
        "QuotaExceeded", True,
    ),
    (
        None, event("FailedToCreateWorkerPod", 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'),
        "PodSecurityViolated", True,
    ),
    (None, event("FailedToCreateHeadPod", "admission webhook denied the request"), "PodsRefused", True),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "told", "reason", "needs_somebody"), CASES)
def test_each_obstacle_has_a_reason(
    seen: dict[str, Any] | None, told: dict[str, Any] | None, reason: str, needs_somebody: bool
) -> None:
    obstacle = found([seen] if seen else [], [told] if told else [], NOW)
    assert obstacle is not None
    assert (obstacle.reason, obstacle.needs_somebody) == (reason, needs_somebody)
    assert obstacle.message


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (pod(), None),
        (waiting("ContainerCreating"), None),
        (waiting("PodInitializing"), None),
        (pod(), event("FailedMount", 'configmap "x" not found', 600)),
        (pod(), event("Unhealthy", "Readiness probe failed")),
        (pod(phase="Running", containerStatuses=[{"state": {"running": {}}}]), None),
    ],
)
def test_what_cures_itself_or_is_over_is_none(seen: dict[str, Any], told: dict[str, Any] | None) -> None:
    assert found([seen], [told] if told else [], NOW) is None


def test_what_somebody_must_see_to_comes_before_what_is_waited_for() -> None:
    pods = [unschedulable("0/1 nodes are available"), waiting("ErrImagePull", "no such image")]
    assert found(pods, [], NOW) == Obstacle("ImagePullFailed", "tiny-a1-head: x:1: no such image")


@pytest.mark.parametrize(
    ("container", "want"),
    [
        ({"state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}, True),
        ({"state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}, True),
        ({"state": {"terminated": {"reason": "Error", "exitCode": 137}}}, False),
        ({"state": {"running": {}}, "lastState": {}}, False),
        ({"state": {"waiting": {"reason": "PodInitializing"}}}, False),
    ],
)
def test_a_container_that_ran_into_its_memory_limit_is_seen_also_when_it_was_started_anew(
    container: dict[str, Any], want: bool
) -> None:
    assert was_killed_for_memory(pod(containerStatuses=[{"name": "ray-worker"} | container])) is want


def test_a_pod_without_containers_was_not_killed() -> None:
    assert not was_killed_for_memory(pod())


@pytest.mark.parametrize(
    "kuberay",
    [
        {"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING", "reason": "JobStatusCheckTimeoutExceeded"},
        {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"},
    ],
)
def test_a_pod_that_was_killed_at_its_memory_limit_is_not_the_infrastructures_fault(kuberay: dict[str, Any]) -> None:
    last = {"attempt": 1, "message": "an actor died", "class": "Infra", "reason": "WorkerLost"}
    seen = observed(rayjob(**kuberay), exit=last, attempts={"current": 1, "failed": 0, "infraRestarts": 0})
    status = plan(rollout_job(backoffLimit=0), replace(seen, out_of_memory="tiny-a1-worker"), SETTINGS, NOW).status
    assert status is not None
    assert (status["phase"], status["attempts"]["failed"]) == ("Failed", 1)
    assert status["attemptHistory"][0]["reason"] == "OutOfMemory"
    assert status["attemptHistory"][0]["message"].startswith("a container of tiny-a1-worker was killed")
