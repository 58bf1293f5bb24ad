"""Small builders for the operator's tests: a job, what is observed of it, and RayJobs as KubeRay leaves them."""

from datetime import UTC, datetime
from typing import Any

from mora_jobs.api import Job, RolloutJob
from mora_operator.plan.obstacles import Obstacle
from mora_operator.plan.queueing import Workload
from mora_operator.plan.queueing import read as read_workload
from mora_operator.plan.rayjobs import RayJob, read
from mora_operator.plan.references import References
from mora_operator.plan.view import Observed
from mora_operator.resources import ATTEMPT_LABEL, JobKey
from mora_operator.settings import Settings

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
EARLIER = "2026-11-22T11:00:00Z"
UID = "11111111-2222-3333-4444-555555555555"
KEY = JobKey("RolloutJob", "team-a", "tiny")
SETTINGS = Settings(runtime_image="mora-runtime:1")


def rollout_spec(**changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "model": {"uri": "pvc://models/tiny"},
        "prompts": {"uri": "pvc://data/prompts.jsonl"},
        "rewards": [{"name": "length", "python": {"callable": "rewards:length"}}],
        "output": {"uri": "pvc://data/runs/tiny"},
    }
    return {name: value for name, value in (spec | changes).items() if value is not None}


def rollout_job(metadata: dict[str, Any] | None = None, **spec: Any) -> Job:
    """A valid RolloutJob; a member given as None is left out."""
    return RolloutJob.model_validate(
        {"metadata": {"name": "tiny", "uid": UID} | (metadata or {}), "spec": rollout_spec(**spec)}
    )


def raw_rayjob(
    index: int = 1,
    *,
    uid: str = "ray-1",
    owner: str = UID,
    deleting: bool = False,
    suspend: bool = False,
    **status: Any,
) -> dict[str, Any]:
    """A RayJob of the job as the API server sends it; `status` holds KubeRay's members."""
    metadata: dict[str, Any] = {
        "name": f"tiny-a{index}",
        "namespace": "team-a",
        "uid": uid,
        "resourceVersion": "10",
        "creationTimestamp": EARLIER,
        "labels": {ATTEMPT_LABEL: str(index)},
        "ownerReferences": [
            {"apiVersion": "mora.dev/v1alpha1", "kind": "RolloutJob", "name": "tiny", "uid": owner, "controller": True}
        ],
    }
    if deleting:
        metadata["deletionTimestamp"] = EARLIER
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": metadata,
        "spec": {"suspend": suspend},
        "status": status,
    }


def rayjob(index: int = 1, **options: Any) -> RayJob:
    made = read(raw_rayjob(index, **options))
    assert made is not None
    return made


def observed(
    *rayjobs: RayJob,
    references: References | None = None,
    deleting: bool = False,
    queue: str = "",
    workload: Workload | None = None,
    obstacle: Obstacle | None = None,
    **status: Any,
) -> Observed:
    """What is known of a job of generation 1; further keyword arguments are members of its status."""
    return Observed(
        status=status,
        generation=1,
        deleting=deleting,
        rayjobs=rayjobs,
        references=references or References(),
        queue=queue,
        workload=workload,
        obstacle=obstacle,
    )


def raw_workload(*conditions: dict[str, Any], rayjob: str = "ray-1", version: str = "5") -> dict[str, Any]:
    """A Workload as Kueue makes it for a RayJob."""
    owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "tiny-a1", "uid": rayjob, "controller": True}
    metadata = {"name": "rayjob-tiny-a1-x", "namespace": "team-a", "uid": "w-1", "resourceVersion": version}
    spec = {"queueName": "gpu-queue"}
    return {
        "metadata": metadata | {"ownerReferences": [owner]},
        "spec": spec,
        "status": {"conditions": list(conditions)},
    }


def workload(*conditions: dict[str, Any]) -> Workload:
    made = read_workload(raw_workload(*conditions))
    assert made is not None
    return made


def condition(kind: str, status: str = "True", since: str = EARLIER) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": "Test", "message": "", "lastTransitionTime": since}
