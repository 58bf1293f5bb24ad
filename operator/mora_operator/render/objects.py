"""The objects of one attempt, from a job and the installation's settings: pure, the same input gives the same objects.

Names are deterministic, so that a create that is repeated finds what the first one made. A RayJob is created, observed
and deleted, never patched: KubeRay ignores most changes, and Kueue changes the same fields.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from mora_jobs.api import AlignmentJob, Job, ResolvedJob, Reward, RolloutJob
from mora_jobs.api.cluster import AuthMode, ClusterSpec, NetworkPolicyMode, Retain, SubmissionMode
from mora_jobs.api.crosscheck import KUEUE_QUEUE
from mora_jobs.api.references import key_of
from mora_jobs.api.resolving import resolve

from ..resources import (
    ATTEMPT_LABEL,
    CONFIG_MAPS,
    KIND_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    NAME_LABEL,
    NETWORK_POLICIES,
    RAY_JOBS,
    SERVICE_ACCOUNTS,
    JobKey,
    Object,
    Resource,
    attempt_name,
)
from ..settings import Settings
from . import pods
from .accelerators import engines, gpus, hosts
from .names import CODE, JOB_FILE
from .network import network_policy
from .rayjob_schema import RayJobSchema
from .uris import claims, localise

# KubeRay puts it into a shell unquoted: nothing of the user's may stand in it.
ENTRYPOINT = f"python -m mora_jobs --job {JOB_FILE}"
SHORT_NAMES = {"RolloutJob": "rlj", "RewriteJob": "rwj", "AlignmentJob": "alj"}
# Labels of queues and gang schedulers. All others stay on the job: those of GitOps tools would make them prune pods.
COPIED_LABELS = (
    "kueue.x-k8s.io/",
    "volcano.sh/",
    "yunikorn.apache.org/",
    "kai.scheduler/",
    "ray.io/gang-scheduling-enabled",
    "ray.io/priority-class-name",
)
# Annotations that Kueue reads on what it queues and Volcano on what it makes a PodGroup of; likewise by allow-list.
COPIED_ANNOTATIONS = ("kueue.x-k8s.io/", "provreq.kueue.x-k8s.io/", "volcano.sh/")
# Kueue's topology-aware scheduling: about pods, hence on their template.
WORKER_ANNOTATIONS = "kueue.x-k8s.io/podset-"
# KubeRay takes a broken log stream for a failed job; a submitter that is started again finds its job and goes on.
SUBMITTER_RETRIES = 6


@dataclass(frozen=True)
class Attempt:
    """What is to be rendered: one attempt of a job, with the jobs that it refers to."""

    key: JobKey
    uid: str
    job: Job
    index: int
    references: tuple[Job, ...]

    @property
    def name(self) -> str:
        return attempt_name(self.key.name, self.index)

    @cached_property
    def resolved(self) -> ResolvedJob:
        """The job with what it inherits from those it refers to: settings, credentials, and the code of their rewards."""
        among = {key_of(job): job for job in (self.job, *self.references)}
        resolved = resolve(self.job, among, attempt=self.index)
        return resolved.with_changes(import_paths=[f"{CODE}/{name}" for name in code_of(resolved)])

    @property
    def audience(self) -> str:
        """Audience of the token that this attempt, and no other, reports with."""
        key = self.key
        return f"mora.dev/{key.namespace}/{key.kind}/{key.name}/{self.uid}/{self.index}"


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """The group of workers: `replicas` of `hosts` pods each."""

    name: str
    replicas: int
    hosts: int = 1


def render(attempt: Attempt, settings: Settings, schema: RayJobSchema) -> list[tuple[Resource, Object]]:
    """The objects of an attempt that come before its ConfigMap, in the order in which they have to be created.

    Raises UnsupportedKubeRay where the installed KubeRay lacks a field without which the job would be another one.
    """
    rendered = []
    cluster = attempt.job.spec.cluster
    if not cluster.service_account_name:
        account = _job_wide(SERVICE_ACCOUNTS, attempt)
        rendered.append((SERVICE_ACCOUNTS, account | {"automountServiceAccountToken": False}))
    if cluster.network_policy.mode is NetworkPolicyMode.MANAGED:
        policy = _job_wide(NETWORK_POLICIES, attempt)
        spec = network_policy(attempt.job, attempt.references, _selector(attempt), settings)
        rendered.append((NETWORK_POLICIES, policy | {"spec": spec}))
    rendered.append((RAY_JOBS, schema.fit(ray_job(attempt, settings))))
    return rendered


def config_map(attempt: Attempt, authorities: str, rayjob_uid: str) -> Object:
    """The resolved job as the driver reads it, and the certificate authorities of the progress endpoint, in PEM.

    It belongs to the RayJob, so that it goes with its attempt, and is made after it: the pods wait for it.
    """
    resolved = attempt.resolved
    inside = resolved.with_changes(
        job=localise(resolved.job), references=[localise(job) for job in resolved.references]
    )
    owner: Object = {
        "apiVersion": RAY_JOBS.api_version,
        "kind": RAY_JOBS.kind,
        "name": attempt.name,
        "uid": rayjob_uid,
    }
    owner |= {"controller": False, "blockOwnerDeletion": False}
    made = _object(CONFIG_MAPS, attempt, attempt.name, owner, _labels(attempt))
    return made | {"data": {"job.json": inside.dump(), "ca.crt": authorities}}


def ray_job(attempt: Attempt, settings: Settings) -> Object:
    """The RayJob: one Ray cluster for one run of the driver, given back when it ends."""
    resolved = attempt.resolved
    job, cluster = resolved.job, resolved.job.spec.cluster
    source = pods.PodSource(
        job=job,
        image=cluster.image or settings.runtime_image,
        config_map=attempt.name,
        service_account=service_account(attempt),
        labels=_labels(attempt),
        worker_annotations={key: value for key, value in _annotations(job) if key.startswith(WORKER_ANNOTATIONS)},
        claims=tuple(sorted(claims(job).union(*(claims(reference) for reference in resolved.references)))),
        code=tuple(code_of(resolved)),
        reporting=pods.Reporting(report_url(attempt, settings), attempt.audience),
    )
    group = worker_group(job, attempt.references)
    ray_cluster: Object = {
        "rayVersion": cluster.ray_version or settings.ray_version,
        "headGroupSpec": {
            "serviceType": "ClusterIP",
            # The head runs the driver; engines and trainers belong on the workers, which have the resources for them.
            "rayStartParams": {"num-cpus": "0"},
            "template": pods.head(source),
        },
        "workerGroupSpecs": [
            {
                "groupName": group.name,
                "replicas": group.replicas,
                "minReplicas": group.replicas,
                "maxReplicas": group.replicas,
                "numOfHosts": group.hosts,
                # KubeRay infers num-cpus, num-gpus and memory from the container's resources.
                "rayStartParams": {},
                "template": pods.worker(source),
            }
        ],
    }
    if cluster.auth.mode is AuthMode.TOKEN:
        ray_cluster["authOptions"] = {"mode": "token"}
    spec: Object = {
        "entrypoint": ENTRYPOINT,
        "submissionMode": cluster.submission_mode.value,
        "backoffLimit": 0,
        "rayClusterSpec": ray_cluster,
        **_cleanup(cluster),
    }
    if job.metadata.labels.get(KUEUE_QUEUE):
        # Kueue's webhook would set it, but one that is down for a moment must not let a job past its queue.
        spec["suspend"] = True
    if cluster.submission_mode is SubmissionMode.K8S_JOB:
        spec["submitterPodTemplate"] = pods.submitter(source, settings.submitter_cpu, settings.submitter_memory)
        spec["submitterConfig"] = {"backoffLimit": SUBMITTER_RETRIES}
    # spec.activeDeadlineSeconds is about all attempts: plan() sees to it.
    if job.spec.attempt_deadline_seconds:
        spec["activeDeadlineSeconds"] = job.spec.attempt_deadline_seconds
    if job.spec.pre_running_deadline_seconds:
        spec["preRunningDeadlineSeconds"] = job.spec.pre_running_deadline_seconds
    made = _object(RAY_JOBS, attempt, attempt.name, _job(attempt), _copied_labels(job) | _labels(attempt))
    if annotations := {key: value for key, value in _annotations(job) if not key.startswith(WORKER_ANNOTATIONS)}:
        made["metadata"]["annotations"] = annotations
    return made | {"spec": spec}


def report_url(attempt: Attempt, settings: Settings) -> str:
    """Where the driver of this attempt reports to."""
    key = attempt.key
    path = f"{key.namespace}/{key.resource.plural}/{key.name}/{attempt.index}"
    return f"https://{settings.progress_host}:{settings.progress_port}/v1alpha1/{path}"


def service_account(attempt: Attempt) -> str:
    """The ServiceAccount of the pods: the one that the job names, or one of its own without any rights."""
    return attempt.job.spec.cluster.service_account_name or _job_wide_name(attempt)


def worker_group(job: Job, references: Iterable[Job] = ()) -> WorkerGroup:
    """The group of workers; a replica is made and lost as a whole."""
    there = gpus(job)
    match job:
        case AlignmentJob():
            return WorkerGroup("trainer", job.spec.trainer.nodes)
        case RolloutJob():
            return WorkerGroup("engine", job.spec.replicas or 1, hosts(job.spec.engine, there))
        case _:
            # It draws with one engine after the other: the rewriter's, and that of its rollout job.
            needed = (hosts(engine, there) for _, engine in engines(job, references))
            return WorkerGroup("engine", 1, max(needed, default=1))


def gpu_count(job: Job, references: Iterable[Job] = ()) -> int:
    """GPUs of all workers together, as their limits say."""
    group = worker_group(job, references)
    return group.replicas * group.hosts * gpus(job)


def _cleanup(cluster: ClusterSpec) -> Object:
    """When the cluster goes. KubeRay takes deletion rules or a time to live, never both."""
    keep_for = cluster.ttl_seconds_after_finished
    if cluster.retain_on_failure is Retain.NONE:
        return {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": keep_for}
    # Not jobStatus FAILED: an attempt that ran into a deadline or lost its submitter has failed without it.
    policy = "DeleteWorkers" if cluster.retain_on_failure is Retain.HEAD else "DeleteNone"
    rules = [
        {"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": keep_for}},
        {"policy": policy, "condition": {"jobDeploymentStatus": "Failed", "ttlSeconds": 0}},
    ]
    return {"shutdownAfterJobFinishes": False, "deletionStrategy": {"deletionRules": rules}}


def _object(resource: Resource, attempt: Attempt, name: str, owner: Object, labels: dict[str, str]) -> Object:
    namespace = attempt.key.namespace
    metadata: Object = {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": [owner]}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def _job_wide(resource: Resource, attempt: Attempt) -> Object:
    labels = {MANAGED_BY_LABEL: MANAGED_BY, **_selector(attempt)}
    return _object(resource, attempt, _job_wide_name(attempt), _job(attempt), labels)


def _job(attempt: Attempt) -> Object:
    """Our job as an owner."""
    return {
        "apiVersion": attempt.key.resource.api_version,
        "kind": attempt.key.kind,
        "name": attempt.key.name,
        "uid": attempt.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _job_wide_name(attempt: Attempt) -> str:
    """Name of what all attempts share; the kind is in it because jobs of different kinds may have equal names."""
    return f"{attempt.key.name}-{SHORT_NAMES[attempt.key.kind]}"


def _selector(attempt: Attempt) -> dict[str, str]:
    return {KIND_LABEL: attempt.key.kind, NAME_LABEL: attempt.key.name}


def _labels(attempt: Attempt) -> dict[str, str]:
    return {MANAGED_BY_LABEL: MANAGED_BY, **_selector(attempt), ATTEMPT_LABEL: str(attempt.index)}


def _copied_labels(job: Job) -> dict[str, str]:
    return {key: value for key, value in job.metadata.labels.items() if key.startswith(COPIED_LABELS)}


def _annotations(job: Job) -> Iterator[tuple[str, str]]:
    return ((key, value) for key, value in job.metadata.annotations.items() if key.startswith(COPIED_ANNOTATIONS))


def code_of(resolved: ResolvedJob) -> list[str]:
    """ConfigMaps with the Python code of the job's rewards and of those it inherits, each once."""
    rewards = [reward for job in (resolved.job, *resolved.references) for reward in _rewards(job)]
    refs = [reward.python.code_config_map_ref for reward in rewards if reward.python is not None]
    return list(dict.fromkeys(ref.name for ref in refs if ref is not None))


def _rewards(job: Job) -> Sequence[Reward]:
    if isinstance(job, RolloutJob):
        return job.spec.rewards
    evaluation = job.spec.evaluation if isinstance(job, AlignmentJob) else None
    return evaluation.rewards if evaluation is not None else ()
