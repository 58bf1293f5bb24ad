"""The part of the spec that all kinds share: lifecycle, credentials, the Ray cluster, and the output."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from .base import Checked, KeyRef, Model, NameRef, Rule
from .pods import (
    Affinity,
    EnvFrom,
    EnvVar,
    LabelSelector,
    PodSecurity,
    Quantities,
    ResourceClaim,
    Toleration,
    TopologySpread,
    VolumeMount,
)
from .texts import LabelKey, LabelMap, Name, ObjectName, OutputURI, Seconds
from .volumes import Volume

PodPart = dict[str, Any]


class FailureAction(StrEnum):
    FAIL_JOB = "FailJob"
    RETRY = "Retry"
    RETRY_IGNORE_LIMIT = "RetryIgnoreLimit"


class CredentialForm(StrEnum):
    FILE = "File"
    ENV = "Env"


class PullPolicy(StrEnum):
    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class SubmissionMode(StrEnum):
    K8S_JOB = "K8sJobMode"
    HTTP = "HTTPMode"


class Retain(StrEnum):
    NONE = "None"
    HEAD = "Head"
    ALL = "All"


class NetworkPolicyMode(StrEnum):
    MANAGED = "Managed"
    DISABLED = "Disabled"


class AuthMode(StrEnum):
    TOKEN = "Token"
    DISABLED = "Disabled"


class OverwritePolicy(StrEnum):
    RESUME = "Resume"
    FAIL = "Fail"
    OVERWRITE = "Overwrite"


Reason = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=64)]


class FailureRule(Model):
    """What to do about failures with certain reasons."""

    name: Name
    """Name of the rule, unique."""
    action: FailureAction
    """FailJob ends the job, Retry counts against the limits, RetryIgnoreLimit does not."""
    on_reasons: Annotated[list[Reason], Field(min_length=1, max_length=16)]
    """Reasons that the rule applies to, as in status.attemptHistory."""


class FailurePolicy(Model):
    """Retries of infrastructure faults, and exceptions by reason."""

    max_infra_restarts: Annotated[int, Field(ge=0, le=1000)] = 20
    """Restarts after faults of the infrastructure (preempted nodes, lost pods), counted apart from backoffLimit."""
    rules: Annotated[list[FailureRule], Field(max_length=16, json_schema_extra={"x-list-key": "name"})] = []
    """The first rule that matches decides."""


class Credential(Model):
    """A secret value that the pods need, by reference: it never stands in a spec."""

    name: Name
    """Name that other fields refer to; `hf` and `s3` are picked up by the hub and S3 clients."""
    secret_ref: KeyRef
    """Secret and key in the job's namespace. `mora run` reads the environment variable MORA_CREDENTIAL_<NAME> instead."""
    as_: Annotated[CredentialForm, Field(alias="as")] = CredentialForm.FILE
    """File is mounted, Env is set as an environment variable <NAME>."""
    mount_path: Annotated[str, StringConstraints(pattern=r"^/[!-9;-~]*$", max_length=256)] | None = None
    """Where the file appears; /var/run/secrets/mora/<name> when absent."""


class PodPatch(Model):
    """What a user may change in generated pods; everything else stays as Pod Security `restricted` wants it."""

    labels: LabelMap = {}
    """Labels added to the pods."""
    annotations: Annotated[
        dict[LabelKey, Annotated[str, StringConstraints(max_length=2048)]], Field(max_length=64)
    ] = {}
    """Annotations added to the pods."""
    node_selector: LabelMap = {}
    """Labels that the node must have."""
    tolerations: Annotated[list[Annotated[PodPart, Checked(Toleration)]], Field(max_length=16)] = []
    """Taints that the pods tolerate."""
    affinity: Annotated[PodPart, Checked(Affinity)] | None = None
    """Affinity as in a pod."""
    topology_spread_constraints: Annotated[list[Annotated[PodPart, Checked(TopologySpread)]], Field(max_length=8)] = []
    """Topology spread constraints as in a pod."""
    priority_class_name: ObjectName | None = None
    """Priority class."""
    runtime_class_name: ObjectName | None = None
    """Runtime class, e.g. nvidia."""
    scheduler_name: ObjectName | None = None
    """Scheduler."""
    security_context: Annotated[PodPart, Checked(PodSecurity)] | None = None
    """Pod security context merged over the hardened default (runAsUser, fsGroup, ...)."""
    env: Annotated[list[EnvVar], Field(max_length=64, json_schema_extra={"x-list-key": "name"})] = []
    """Environment variables of the Ray container."""
    env_from: Annotated[list[Annotated[PodPart, Checked(EnvFrom)]], Field(max_length=8)] = []
    """Environment from ConfigMaps or Secrets."""
    volumes: Annotated[
        list[Annotated[PodPart, Checked(Volume)]], Field(max_length=16, json_schema_extra={"x-list-key": "name"})
    ] = []
    """Volumes of the kinds that Pod Security `restricted` allows. Names that begin with mora- are the operator's."""
    volume_mounts: Annotated[list[Annotated[PodPart, Checked(VolumeMount)]], Field(max_length=16)] = []
    """Mounts of the Ray container, also of `scratch` (/tmp) and `dshm` (/dev/shm)."""
    resource_claims: Annotated[
        list[Annotated[PodPart, Checked(ResourceClaim)]], Field(max_length=8, json_schema_extra={"x-list-key": "name"})
    ] = []
    """Dynamic resource claims."""
    termination_grace_period_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    """Time between SIGTERM and SIGKILL."""


class Resources(Model):
    """Requests and limits of the Ray container."""

    requests: Quantities = {}
    """Requested amounts, e.g. cpu: "4", memory: 16Gi."""
    limits: Quantities = {}
    """Limits, e.g. nvidia.com/gpu: "1". ephemeral-storage also bounds /tmp, which has 64Gi otherwise."""


class HeadGroup(Model):
    """The Ray head, where the driver runs."""

    resources: Resources = Resources()
    """Resources of the head."""
    pod: PodPatch = PodPatch()
    """Changes to the head's pod."""


class WorkerGroup(Model):
    """The Ray workers, where engines and trainers run."""

    resources: Resources = Resources()
    """Resources of each worker."""
    pod: PodPatch = PodPatch()
    """Changes to the workers' pods."""
    shm_size: Annotated[str, StringConstraints(pattern=r"^[0-9]+(Ki|Mi|Gi)$", max_length=16)] | None = None
    """Size of /dev/shm; Ray's object store and NCCL live there. It counts towards the memory limit."""


class Egress(Model):
    """One more destination that the job's pods may reach."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.cidr) != (has(self.namespaceSelector) || has(self.podSelector))",
            "give cidr, or namespaceSelector and podSelector",
        ),
        Rule("!has(self.cidr) || isCIDR(self.cidr)", "cidr must be an address range, e.g. 10.0.0.0/8", "cidr"),
    )
    cidr: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Address range, e.g. 10.0.0.0/8."""
    namespace_selector: Annotated[PodPart, Checked(LabelSelector)] | None = None
    """Label selector of namespaces."""
    pod_selector: Annotated[PodPart, Checked(LabelSelector)] | None = None
    """Label selector of pods."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """TCP port."""


class NetworkPolicySpec(Model):
    """Which traffic the job's pods may have."""

    mode: NetworkPolicyMode = NetworkPolicyMode.MANAGED
    """Managed allows DNS, the job's own pods, KubeRay, the progress endpoint, 443 when a URI is remote, and extraEgress."""
    extra_egress: Annotated[list[Egress], Field(max_length=16)] = []
    """Further destinations."""


class Auth(Model):
    """Authentication inside the Ray cluster."""

    mode: AuthMode = AuthMode.TOKEN
    """Token protects the dashboard, the client port and the GCS by a token that KubeRay makes."""


class ClusterSpec(Model):
    """The Ray cluster of the job. `mora run` ignores it."""

    ray_version: Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$", max_length=32)] | None = None
    """Ray version of the image; the operator's default when absent."""
    image: Annotated[str, StringConstraints(pattern=r"^[!-~]+$", max_length=512)] | None = None
    """Image with Ray and mora_jobs; the operator's default when absent."""
    image_pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    """When the image is pulled."""
    image_pull_secrets: Annotated[list[NameRef], Field(max_length=8)] = []
    """Secrets for the image registry."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods; when absent the operator makes one without any rights."""
    submission_mode: SubmissionMode = SubmissionMode.K8S_JOB
    """How KubeRay submits the driver."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] = 300
    """How long the Ray cluster stays after the job has finished."""
    retain_on_failure: Retain = Retain.NONE
    """What stays after a failure, for debugging, until the next attempt or until this object is deleted. KubeRay 1.6 or newer."""
    network_policy: NetworkPolicySpec = NetworkPolicySpec()
    """Network isolation."""
    auth: Auth = Auth()
    """Authentication."""
    head: HeadGroup = HeadGroup()
    """The Ray head."""
    workers: WorkerGroup = WorkerGroup()
    """The Ray workers."""


class Output(Model):
    """Where the job writes its artifacts."""

    uri: OutputURI
    """Folder of the artifacts. A file:// path without a leading slash is relative to the workdir of `mora run`."""
    overwrite_policy: OverwritePolicy = OverwritePolicy.RESUME
    """Resume continues what the same manifest began, Fail refuses a folder that is not empty, Overwrite empties it first."""


class CommonSpec(Model):
    """Fields of every job."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(oldSelf.activeDeadlineSeconds) || (has(self.activeDeadlineSeconds) && "
            "self.activeDeadlineSeconds >= oldSelf.activeDeadlineSeconds)",
            "activeDeadlineSeconds may only be increased",
            "activeDeadlineSeconds",
        ),
    )
    suspend: bool = False
    """Stop after a checkpoint and give the cluster back; false continues."""
    active_deadline_seconds: Seconds | None = None
    """Time limit of the whole job over all attempts, without time in a queue or suspended. May only be increased."""
    attempt_deadline_seconds: Seconds | None = None
    """Time limit of one attempt."""
    pre_running_deadline_seconds: Seconds | None = None
    """Time limit until the cluster runs."""
    backoff_limit: Annotated[int, Field(ge=0, le=100)] = 3
    """Retries after failures of the application."""
    failure_policy: FailurePolicy = FailurePolicy()
    """Retries of infrastructure faults."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """Delete this object so long after it has finished. Leave it unset under GitOps."""
    credentials: Annotated[list[Credential], Field(max_length=16, json_schema_extra={"x-list-key": "name"})] = []
    """Secrets that the pods need, by reference."""
    cluster: ClusterSpec = ClusterSpec()
    """The Ray cluster of the job. `mora run` ignores it."""
