"""What every job reports. Metrics are texts, as Kubernetes wants numbers in status to be."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from .base import Model

Number = Annotated[str, StringConstraints(max_length=64)]
Reason = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", min_length=1, max_length=128)
]
Message = Annotated[str, StringConstraints(max_length=1024)]
Text = Annotated[str, StringConstraints(max_length=1024)]
Count = Annotated[int, Field(ge=0)]


def number(value: float) -> str:
    """A metric as status shows it: six significant digits."""
    return f"{value:.6g}"


class Phase(StrEnum):
    """Where a job stands, for people; programs read the conditions."""

    PENDING = "Pending"
    WAITING = "Waiting"
    QUEUED = "Queued"
    PROVISIONING = "Provisioning"
    RUNNING = "Running"
    SUSPENDING = "Suspending"
    SUSPENDED = "Suspended"
    RETRYING = "Retrying"
    STALLED = "Stalled"
    COMPLETE = "Complete"
    FAILED = "Failed"


class ConditionType(StrEnum):
    INPUTS_READY = "InputsReady"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    READY = "Ready"
    QUOTA_RESERVED = "QuotaReserved"
    CLUSTER_READY = "ClusterReady"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"
    DEGRADED = "Degraded"
    TRUNCATED = "Truncated"


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """metav1.Condition."""

    type: Annotated[str, StringConstraints(max_length=64)]
    """Type of the condition."""
    status: ConditionStatus
    """True, False or Unknown."""
    observed_generation: Annotated[int, Field(ge=-1)] = -1
    """metadata.generation that the condition is about."""
    last_transition_time: datetime
    """When the status last changed."""
    reason: Reason
    """PascalCase reason."""
    message: Message = ""
    """One line for people."""


class Attempts(Model):
    """Counters of attempts."""

    current: Count = 0
    """Index of the newest attempt, from 1."""
    failed: Count = 0
    """Failures that count against backoffLimit."""
    infra_restarts: Count = 0
    """Restarts that count against failurePolicy.maxInfraRestarts."""


class CurrentAttempt(Model):
    """The Ray objects of the newest attempt."""

    index: Count = 0
    """Index of the attempt."""
    ray_job_name: Text | None = None
    """Name of the RayJob."""
    ray_cluster_name: Text | None = None
    """Name of the RayCluster."""
    job_id: Text | None = None
    """Ray's id of the submitted job."""
    start_time: datetime | None = None
    """When it was created."""


class PastAttempt(Model):
    """An attempt that ended."""

    index: Count
    """Index of the attempt."""
    reason: Reason
    """Why it ended."""
    class_: Annotated[str, Field(alias="class"), StringConstraints(max_length=32)]
    """Infra, App, UserError, Deadline or ExternalDeletion."""
    message: Message = ""
    """One line for people, without secrets."""
    start_time: datetime | None = None
    """When it started."""
    end_time: datetime | None = None
    """When it ended."""
    lost_seconds: Count = 0
    """Work that was lost."""


class Progress(Model):
    """How far the job is. Field names as in Kubeflow Trainer's trainerStatus."""

    progress_percentage: Annotated[int, Field(ge=0, le=100)] = 0
    """Share done, in percent."""
    estimated_remaining_seconds: Count | None = None
    """Estimate of the time left."""
    completed: Count = 0
    """Units done."""
    total: Count = 0
    """Units in all."""
    failed: Count = 0
    """Units given up."""
    unit: Annotated[str, StringConstraints(max_length=32)] = "Prompts"
    """Prompts, Responses, Candidates or Steps."""
    stage: Annotated[str, StringConstraints(max_length=64)] = ""
    """What the job is doing, e.g. Rollouts or Scores."""
    last_updated_time: datetime | None = None
    """When this was reported."""


class Metric(Model):
    """One figure."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """Name."""
    value: Number
    """Value as text."""


class Checkpoint(Model):
    """The newest checkpoint that a resume starts from."""

    uri: Text
    """Where it lies."""
    step: Count = 0
    """Training step."""
    time: datetime | None = None
    """When it was complete."""
    digest: Text | None = None
    """sha256 over its files."""


class OutputRef(Model):
    """An artifact that the job has written."""

    name: Annotated[str, StringConstraints(max_length=63)]
    """Name, e.g. rollouts."""
    uri: Text
    """Where it lies."""
    items: Count | None = None
    """Rows or files."""
    digest: Text | None = None
    """sha256:… over the content."""


class Usage(Model):
    """Time of attempts that have ended."""

    active_seconds: Count = 0
    """Seconds that they ran, without what lies between them; activeDeadlineSeconds is about this."""

    gpu_seconds: Count = 0
    """GPU-seconds used."""
    wasted_gpu_seconds: Count = 0
    """GPU-seconds whose work was lost."""


class Queue(Model):
    """The Kueue workload of the attempt."""

    workload_name: Text | None = None
    """Name of the Workload."""
    local_queue: Text | None = None
    """Queue."""
    reason: Text | None = None
    """Why it waits."""


class Links(Model):
    """Where to look next."""

    dashboard_url: Annotated[Text | None, Field(alias="dashboardURL")] = None
    """Ray dashboard inside the cluster."""
    logs: Text | None = None
    """The driver's log."""
    report: Text | None = None
    """The HTML report."""


class ExitClass(StrEnum):
    SUCCESS = "Success"
    USER_ERROR = "UserError"
    APP = "App"
    INFRA = "Infra"


class Exit(Model):
    """How the driver ended; also written to exit.json beside the artifacts."""

    class_: Annotated[ExitClass, Field(alias="class")]
    """Success, UserError, App or Infra."""
    reason: Reason
    """PascalCase reason, e.g. Complete, NothingToRewrite, CallableNotFound, AcceleratorOutOfMemory."""
    message: Message = ""
    """One line for people, without secrets."""


class AttemptExit(Exit):
    """How an attempt's driver ended, as it said itself: why a job failed is decided from this."""

    attempt: Count
    """Index of the attempt."""


class CommonStatus(Model):
    """Fields of every job's status."""

    observed_generation: Annotated[int, Field(ge=-1)] = -1
    """metadata.generation that this status is about; -1 means not looked at yet."""
    phase: Phase | None = None
    """Where the job stands, for people."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra={"x-list-key": "type"})] = []
    """Conditions; `kubectl wait --for=condition=Complete` works."""
    start_time: datetime | None = None
    """When the first attempt ran."""
    completion_time: datetime | None = None
    """When the job finished."""
    attempts: Attempts | None = None
    """Counters of attempts."""
    current_attempt: CurrentAttempt | None = None
    """The newest attempt."""
    attempt_history: Annotated[list[PastAttempt], Field(max_length=10)] = []
    """Attempts that ended, newest first."""
    progress: Progress | None = None
    """How far the job is."""
    metrics: Annotated[list[Metric], Field(max_length=64, json_schema_extra={"x-list-key": "name"})] = []
    """Figures of the driver, e.g. generated tokens per second."""
    checkpoint: Checkpoint | None = None
    """The newest checkpoint."""
    outputs: Annotated[list[OutputRef], Field(max_length=8, json_schema_extra={"x-list-key": "name"})] = []
    """Artifacts with digests."""
    exit: AttemptExit | None = None
    """How the driver ended."""
    gpus: Count | None = None
    """GPUs of the current attempt."""
    usage: Usage | None = None
    """Time and accelerator time of attempts that have ended."""
    queue: Queue | None = None
    """Queueing."""
    links: Links | None = None
    """Where to look next."""


class PromptCounts(Model):
    """Counters of prompts."""

    total: Count = 0
    """Prompts in all."""
    completed: Count = 0
    """Prompts done."""
    failed: Count = 0
    """Prompts given up."""
