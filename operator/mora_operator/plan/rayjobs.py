"""What a RayJob's status means. KubeRay's two status fields contradict each other at times; here is the one reading.

`jobDeploymentStatus` and `reason` come first, `jobStatus` second. A RayJob has no conditions and never writes its
observedGeneration, and a job that was stopped counts as complete in KubeRay's eyes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mora_jobs.api import GROUP, AttemptExit, ExitClass
from mora_jobs.api.crosscheck import KUEUE_QUEUE

from ..resources import ATTEMPT_LABEL
from .conditions import clip


class Stage(StrEnum):
    """How far an attempt is."""

    QUEUED = "Queued"
    PROVISIONING = "Provisioning"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class FailureClass(StrEnum):
    """Whose fault a failure is; names as in status.attemptHistory."""

    INFRA = "Infra"
    APP = "App"
    USER_ERROR = "UserError"
    DEADLINE = "Deadline"
    EXTERNAL_DELETION = "ExternalDeletion"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt ended without success."""

    type: FailureClass
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class RayJob:
    """The part of a RayJob that decisions depend on. Times are RFC 3339 texts, as the API server writes them."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    owner_uid: str
    owner_kind: str
    owner_name: str
    attempt: int
    deleting: bool
    suspended: bool  # by Kueue: we never change this
    queue: str
    created: str
    cluster_name: str | None
    job_id: str | None
    dashboard_url: str | None
    job_status: str
    deployment_status: str
    reason: str
    message: str
    begun_at: str | None  # KubeRay began to make the cluster; anew each time that it is resumed
    ran_at: str | None
    end_time: str | None
    workers: int
    ready_workers: int

    @property
    def refused(self) -> bool:
        """Whether KubeRay holds it for malformed: a state that it never leaves, even when the cause is gone."""
        return self.deployment_status == "ValidationFailed"

    @property
    def stage(self) -> Stage:
        match self.deployment_status, self.job_status:
            case "Complete", "SUCCEEDED":
                return Stage.SUCCEEDED
            case (("Complete" | "Failed" | "ValidationFailed"), _):
                return Stage.FAILED
            case _ if self.suspended:
                return Stage.QUEUED
            case "Running", _:
                return Stage.RUNNING
            case _:
                return Stage.PROVISIONING


def read(raw: Mapping[str, Any]) -> RayJob | None:
    """The RayJob as decisions see it; None for one that is not ours."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    cluster = status.get("rayClusterStatus") or {}
    owner = next((ref for ref in metadata.get("ownerReferences", []) if _is_ours(ref)), None)
    attempt = metadata.get("labels", {}).get(ATTEMPT_LABEL, "")
    if owner is None or not attempt.isdigit():
        return None
    return RayJob(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        owner_uid=owner["uid"],
        owner_kind=owner["kind"],
        owner_name=owner["name"],
        attempt=int(attempt),
        deleting="deletionTimestamp" in metadata,
        suspended=bool((raw.get("spec") or {}).get("suspend")),
        queue=metadata.get("labels", {}).get(KUEUE_QUEUE, ""),
        created=metadata["creationTimestamp"],
        cluster_name=status.get("rayClusterName") or None,
        job_id=status.get("jobId") or None,
        dashboard_url=status.get("dashboardURL") or None,
        job_status=status.get("jobStatus", ""),
        deployment_status=status.get("jobDeploymentStatus", ""),
        reason=status.get("reason", ""),
        message=summary(str(status.get("message", ""))),
        begun_at=status.get("startTime"),
        ran_at=(status.get("rayJobInfo") or {}).get("startTime"),
        end_time=status.get("endTime"),
        workers=cluster.get("desiredWorkerReplicas", 0),
        ready_workers=cluster.get("readyWorkerReplicas", 0),
    )


def summary(message: str) -> str:
    """First and last line of what KubeRay says: between them it puts up to 20,000 characters of the driver's log."""
    lines = [line for line in message.splitlines() if line.strip()]
    first = lines[0].split(", last available logs", 1)[0] if lines else ""
    return clip(f"{first}: {lines[-1]}" if len(lines) > 1 else first, 512)


def failure(rayjob: RayJob, exit: AttemptExit | None) -> Failure:
    """Why this attempt failed. The driver's own record wins: KubeRay only sees that a process ended."""
    if exit is not None and exit.attempt == rayjob.attempt and exit.class_ is not ExitClass.SUCCESS:
        return Failure(FailureClass(exit.class_.value), exit.reason, exit.message)
    match rayjob.reason, rayjob.job_status:
        case ("DeadlineExceeded" | "PreRunningDeadlineExceeded") as reason, _:
            return Failure(FailureClass.DEADLINE, reason, rayjob.message)
        case (
            "SubmissionFailed" | "JobDeploymentStatusTransitionGracePeriodExceeded" | "JobStatusCheckTimeoutExceeded"
        ) as reason, _:
            return Failure(FailureClass.INFRA, reason, rayjob.message)
        case "AppFailed", status if status not in ("FAILED", "STOPPED"):
            # The driver's cluster has forgotten it: the head was lost and came back, or did not.
            return Failure(FailureClass.INFRA, "HeadPodLost", rayjob.message)
        case _, "STOPPED":
            return Failure(FailureClass.APP, "DriverStopped", "the driver was stopped from outside")
        case reason, _:
            return Failure(FailureClass.APP, reason or "AppFailed", rayjob.message)


def _is_ours(reference: Mapping[str, Any]) -> bool:
    return bool(reference.get("controller")) and str(reference.get("apiVersion", "")).startswith(GROUP + "/")
