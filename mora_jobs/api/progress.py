"""The progress wire: what a driver POSTs and what it is answered. A superset of Kubeflow Trainer's trainerStatus."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from .base import Model
from .status import Checkpoint, Count, Exit, Links, Metric, OutputRef, Progress

MAX_BODY_BYTES = 65_536
URL_VARIABLE = "KUBEFLOW_TRAINER_SERVER_URL"
CA_VARIABLE = "KUBEFLOW_TRAINER_SERVER_CA_CERT"
TOKEN_VARIABLE = "KUBEFLOW_TRAINER_SERVER_TOKEN"
"""The names that transformers' KubeflowCallback reads, so that its reports come the same way (path of the token file)."""


class Desired(StrEnum):
    """What the operator wants of the driver."""

    CONTINUE = "Continue"
    CHECKPOINT = "Checkpoint"
    STOP = "Stop"


class TrainerMetric(Model):
    """A metric as Kubeflow sends it."""

    name: Annotated[str, StringConstraints(max_length=64)]
    value: Annotated[str, StringConstraints(max_length=64)]


class TrainerStatus(Model):
    """Kubeflow Trainer's message, as transformers' KubeflowCallback sends it."""

    progress_percentage: Annotated[int, Field(ge=0, le=100)] | None = None
    estimated_remaining_seconds: Count | None = None
    metrics: Annotated[list[TrainerMetric], Field(max_length=256)] | None = None
    last_updated_time: datetime | None = None


class ProgressReport(Model):
    """One POST of a driver; every member is optional, the last report carries `exit`."""

    trainer_status: TrainerStatus | None = None
    """Kubeflow's form."""
    progress: Progress | None = None
    """Counters and ETA."""
    metrics: Annotated[list[Metric], Field(max_length=64)] = []
    """Figures."""
    checkpoint: Checkpoint | None = None
    """The newest checkpoint."""
    outputs: Annotated[list[OutputRef], Field(max_length=8)] = []
    """Artifacts."""
    links: Links | None = None
    """Where the driver left its log and its report."""
    result: dict[str, Any] | None = None
    """The kind's own part of status: RolloutResult, RewriteResult or AlignmentResult."""
    exit: Exit | None = None
    """How the driver ended."""


class ProgressReply(Model):
    """What the endpoint answers."""

    desired: Desired = Desired.CONTINUE
    """What the operator wants of the driver."""
