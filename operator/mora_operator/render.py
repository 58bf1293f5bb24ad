"""The objects of one attempt, from a job and the installation's settings: pure, the same input gives the same objects.

Names are deterministic, so that a create that is repeated finds what the first one made. A RayJob is created, observed
and deleted, never patched: KubeRay ignores most changes, and Kueue changes the same fields.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mora_jobs.api import AlignmentJob, Job, ResolvedJob, Reward, RolloutJob
from mora_jobs.api.cluster import AuthMode, NetworkPolicyMode, SubmissionMode
from mora_jobs.api.references import key_of
from mora_jobs.api.resolving import resolve

from . import pods
from .network import network_policy
from .resources import (
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
from .settings import Settings
from .uris import claims, localise

ENTRYPOINT = f"python -m mora_jobs --job {pods.JOB_FILE}"
GPU = "nvidia.com/gpu"
SHORT_NAMES = {"RolloutJob": "rlj", "RewriteJob": "rwj", "AlignmentJob": "alj"}
# Labels of queues and gang schedulers. All others stay on the job: those of GitOps tools would make them prune pods.
COPIED_LABELS = (
    "kueue.x-k8s.io/",
    "volcano.sh/",
    "yunikorn.apache.org/",
    "kai.scheduler/",
    "ray.io/gang-scheduling-enabled",
)
# KubeRay takes a broken log stream for a failed job; a submitter that is started again finds its job and goes on.
SUBMITTER_RETRIES = 6


@dataclass(frozen=True, slots=True)
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

    @property
    def resolved(self) -> ResolvedJob:
        """The job with what it inherits from those it refers to: settings, credentials, and the code of their rewards."""
        among = {key_of(job): job for job in (self.job, *self.references)}
        resolved = resolve(self.job, among, attempt=self.index)
        return resolved.with_changes(import_paths=[f"{pods.CODE}/{name}" for name in code_of(resolved)])

    @property
    def audience(self) -> str:
        """Audience of the token that this attempt, and no other, reports with."""
        key = self.key
        return f"mora.dev/{key.namespace}/{key.kind}/{key.name}/{self.uid}/{self.index}"


def render(attempt: Attempt, settings: Settings, ca: str) -> list[tuple[Resource, Object]]:
    """The objects of an attempt in the order in which they have to be created. `ca` is the endpoint's, in PEM."""
    rendered = [(CONFIG_MAPS, config_map(attempt, ca))]
    cluster = attempt.job.spec.cluster
    if not cluster.service_account_name:
        account = _object(SERVICE_ACCOUNTS, attempt, service_account(attempt))
        rendered.append((SERVICE_ACCOUNTS, account | {"automountServiceAccountToken": False}))
    if cluster.network_policy.mode is NetworkPolicyMode.MANAGED:
        policy = _object(NETWORK_POLICIES, attempt, _job_wide_name(attempt))
        spec = network_policy(attempt.job, attempt.references, _selector(attempt), settings)
        rendered.append((NETWORK_POLICIES, policy | {"spec": spec}))
    rendered.append((RAY_JOBS, ray_job(attempt, settings)))
    return rendered


def config_map(attempt: Attempt, ca: str) -> Object:
    """The resolved job as the driver reads it, and the certificate authority of the progress endpoint."""
    resolved = attempt.resolved
    inside = resolved.with_changes(
        job=localise(resolved.job), references=[localise(job) for job in resolved.references]
    )
    return _object(CONFIG_MAPS, attempt, attempt.name) | {"data": {"job.json": inside.dump(), "ca.crt": ca}}


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
        claims=tuple(sorted(claims(job).union(*(claims(reference) for reference in resolved.references)))),
        code=tuple(code_of(resolved)),
        reporting=pods.Reporting(report_url(attempt, settings), attempt.audience),
    )
    group, count = worker_group(job)
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
                "groupName": group,
                "replicas": count,
                "minReplicas": count,
                "maxReplicas": count,
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
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": cluster.ttl_seconds_after_finished,
        "rayClusterSpec": ray_cluster,
    }
    if cluster.submission_mode is SubmissionMode.K8S_JOB:
        spec["submitterPodTemplate"] = pods.submitter(source, settings.submitter_cpu, settings.submitter_memory)
        spec["submitterConfig"] = {"backoffLimit": SUBMITTER_RETRIES}
    # spec.activeDeadlineSeconds is about all attempts: plan() sees to it.
    if job.spec.attempt_deadline_seconds:
        spec["activeDeadlineSeconds"] = job.spec.attempt_deadline_seconds
    if job.spec.pre_running_deadline_seconds:
        spec["preRunningDeadlineSeconds"] = job.spec.pre_running_deadline_seconds
    return _object(RAY_JOBS, attempt, attempt.name, _copied(job)) | {"spec": spec}


def report_url(attempt: Attempt, settings: Settings) -> str:
    """Where the driver of this attempt reports to."""
    key = attempt.key
    path = f"{key.namespace}/{key.resource.plural}/{key.name}/{attempt.index}"
    return f"https://{settings.progress_host}:{settings.progress_port}/v1alpha1/{path}"


def service_account(attempt: Attempt) -> str:
    """The ServiceAccount of the pods: the one that the job names, or one of its own without any rights."""
    return attempt.job.spec.cluster.service_account_name or _job_wide_name(attempt)


def worker_group(job: Job) -> tuple[str, int]:
    """Name and size of the group of workers."""
    if isinstance(job, AlignmentJob):
        return "trainer", job.spec.trainer.nodes
    if isinstance(job, RolloutJob):
        # One host per pipeline stage: tensor parallelism stays inside a host.
        return "engine", (job.spec.replicas or 1) * job.spec.engine.pipeline_parallel_size
    return "engine", 1


def gpu_count(job: Job) -> int:
    """GPUs of all workers together, as their limits say."""
    return worker_group(job)[1] * int(job.spec.cluster.workers.resources.limits.get(GPU, "0"))


def _object(resource: Resource, attempt: Attempt, name: str, labels: Iterable[tuple[str, str]] = ()) -> Object:
    owner = {
        "apiVersion": attempt.key.resource.api_version,
        "kind": attempt.key.kind,
        "name": attempt.key.name,
        "uid": attempt.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": attempt.key.namespace,
        "labels": dict(labels) | _labels(attempt),
        "ownerReferences": [owner],
    }
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def _job_wide_name(attempt: Attempt) -> str:
    """Name of what all attempts share; the kind is in it because jobs of different kinds may have equal names."""
    return f"{attempt.key.name}-{SHORT_NAMES[attempt.key.kind]}"


def _selector(attempt: Attempt) -> dict[str, str]:
    return {KIND_LABEL: attempt.key.kind, NAME_LABEL: attempt.key.name}


def _labels(attempt: Attempt) -> dict[str, str]:
    return {MANAGED_BY_LABEL: MANAGED_BY, **_selector(attempt), ATTEMPT_LABEL: str(attempt.index)}


def _copied(job: Job) -> Iterator[tuple[str, str]]:
    return ((key, value) for key, value in job.metadata.labels.items() if key.startswith(COPIED_LABELS))


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
