"""Every reason for which a job is not started, with its message: each names the field to change."""

import re
from pathlib import Path
from typing import Any

import pytest
from builders import SETTINGS, rollout_job

from mora_jobs.api import AlignmentJob, Job, RewriteJob
from mora_operator.plan import blockers as module
from mora_operator.plan.blockers import blockers
from mora_operator.plan.conditions import clip
from mora_operator.settings import Settings

QUEUE = {"kueue.x-k8s.io/queue-name": "gpu"}
LIMITS = "spec.cluster.workers.resources.limits"
SECRET = {"name": "s", "key": "k"}


def gpus(count: int, **requests: str) -> dict[str, Any]:
    return {"workers": {"resources": {"requests": requests, "limits": {"nvidia.com/gpu": count}}}}


def engine(tensor: int, pipeline: int = 1) -> dict[str, Any]:
    return {"tensorParallelSize": tensor, "pipelineParallelSize": pipeline}


def patched(group: str = "workers", **pod: Any) -> Job:
    return rollout_job(cluster={group: {"pod": pod}})


def amounts(requests: dict[str, Any], limits: dict[str, Any], group: str = "workers") -> Job:
    return rollout_job(cluster={group: {"resources": {"requests": requests, "limits": limits}}})


def mounted(path: str) -> Job:
    return patched(volumes=[{"name": "v", "emptyDir": {}}], volumeMounts=[{"name": "v", "mountPath": path}])


def judge(tensor: int, pipeline: int = 1) -> dict[str, Any]:
    model = {"model": {"uri": "pvc://m/j"}, "rubric": "r", "engine": engine(tensor, pipeline)}
    return {"name": "judged", "judge": model}


def rewrite(tensor: int, **cluster: Any) -> Job:
    spec = {
        "source": {"rolloutJobRef": {"name": "tiny"}},
        "rewriter": {"model": {"uri": "pvc://m/m"}, "engine": engine(tensor)},
        "output": {"uri": "pvc://data/rewrite"},
        "cluster": cluster,
    }
    return RewriteJob.model_validate({"metadata": {"name": "second"}, "spec": spec})


def align(per_node: int, generation: dict[str, Any] | None = None, **cluster: Any) -> Job:
    spec = {
        "model": {"uri": "pvc://models/tiny"},
        "data": {"rolloutJobRef": {"name": "tiny"}},
        "objectives": [{"name": "length"}],
        "trainer": {"nodes": 2, "workersPerNode": per_node},
        "lora": {},
        "output": {"uri": "pvc://data/align"},
        "cluster": cluster,
    } | ({"generation": {"engine": generation}} if generation else {})
    return AlignmentJob.model_validate({"metadata": {"name": "third"}, "spec": spec})


PATCH = "spec.cluster.workers.pod"
BLOCKED: list[tuple[str, Job, str]] = [
    (
        "RelativeURI",
        rollout_job(output={"uri": "file://runs/x"}),
        "spec.output.uri: in a cluster a file:// URI must be absolute, on a mounted volume; or use pvc://claim/path",
    ),
    (
        "AutoscalingUnavailable",
        rollout_job(autoscaling={"maxReplicas": 2}),
        "spec.autoscaling: in a cluster give a fixed number of replicas",
    ),
    (
        "QueueConflict",
        rollout_job({"labels": QUEUE}, cluster={"retainOnFailure": "Head"}),
        "spec.cluster.retainOnFailure: a job in a Kueue queue cannot keep its cluster after a failure",
    ),
    (
        "QueueConflict",
        rollout_job({"labels": QUEUE | {"volcano.sh/queue-name": "q"}}),
        "metadata.labels: labels of kueue.x-k8s.io and volcano.sh: only one of them can queue the job",
    ),
    (
        "QueueConflict",
        rollout_job({"labels": {"volcano.sh/queue-name": "q"}}, cluster={"submissionMode": "HTTPMode"}),
        "spec.cluster.submissionMode: KubeRay hands volcano.sh on to the pods in K8sJobMode only",
    ),
    (
        "InvalidClaim",
        rollout_job(output={"uri": "pvc://../../etc/x"}),
        "spec.output.uri: '..' is not the name of a PersistentVolumeClaim (pvc://claim/path)",
    ),
    (
        "InvalidClaim",
        rollout_job(model={"uri": "pvc:///models/tiny"}),
        "spec.model.uri: '' is not the name of a PersistentVolumeClaim (pvc://claim/path)",
    ),
    # ------------------------------------------------------------ what is not a manifest's to set in a pod
    (
        "PodPatchConflict",
        patched("head", env=[{"name": "KUBEFLOW_TRAINER_SERVER_TOKEN", "value": "/tmp/mine"}]),
        "spec.cluster.head.pod.env[0].name: the variable KUBEFLOW_TRAINER_SERVER_TOKEN is not a manifest's to set",
    ),
    (
        "PodPatchConflict",
        rollout_job(
            credentials=[{"name": "hf", "secretRef": SECRET}],
            cluster={"workers": {"pod": {"env": [{"name": "HF_TOKEN_PATH", "value": "/x"}]}}},
        ),
        f"{PATCH}.env[0].name: the variable HF_TOKEN_PATH is set by the credential hf",
    ),
    (
        "PodPatchConflict",
        rollout_job(
            credentials=[{"name": "api-key", "secretRef": SECRET, "as": "Env"}],
            cluster={"workers": {"pod": {"env": [{"name": "API_KEY", "value": "x"}]}}},
        ),
        f"{PATCH}.env[0].name: the variable API_KEY is set by the credential api-key",
    ),
    (
        "PodPatchConflict",
        patched(volumes=[{"name": "dshm", "emptyDir": {}}]),
        f"{PATCH}.volumes[0].name: dshm is the name of a volume that the operator makes",
    ),
    (
        "PodPatchConflict",
        patched(volumes=[{"name": "mora-progress", "emptyDir": {}}]),
        f"{PATCH}.volumes[0].name: mora-progress is the name of a volume that the operator makes",
    ),
    (
        "PodPatchConflict",
        patched(volumeMounts=[{"name": "absent", "mountPath": "/x"}]),
        f"{PATCH}.volumeMounts[0].name: there is no volume absent",
    ),
    *[
        (
            "PodPatchConflict",
            mounted(path),
            f"{PATCH}.volumeMounts[0].mountPath: {path} would lie over {ours}, which the operator mounts",
        )
        for path, ours in [
            ("/etc/mora", "/etc/mora"),
            ("/etc/mora/job.json", "/etc/mora"),
            ("/etc", "/etc/mora"),
            ("/", "/etc/mora"),
            ("//etc/./x/../mora/", "/etc/mora"),
            ("/var/run/secrets/mora-progress/token", "/var/run/secrets/mora-progress"),
            ("/mnt/mora/volumes/data", "/mnt/mora/volumes"),
            ("/dev/shm/", "/dev/shm"),
            ("/tmp", "/tmp"),
        ]
    ],
    (
        "PodPatchConflict",
        patched(volumeMounts=[{"name": "scratch", "mountPath": "/x"}, {"name": "scratch", "mountPath": "/x/"}]),
        f"{PATCH}.volumeMounts[1].mountPath: something else is mounted at /x/",
    ),
    (
        "PodPatchConflict",
        rollout_job(
            credentials=[{"name": "netrc", "secretRef": SECRET, "mountPath": "/home/ray/.netrc"}],
            cluster={"workers": {"pod": {"volumeMounts": [{"name": "scratch", "mountPath": "/home/ray/.netrc"}]}}},
        ),
        f"{PATCH}.volumeMounts[0].mountPath: something else is mounted at /home/ray/.netrc",
    ),
    (
        "PodPatchConflict",
        patched(labels={"ray.io/cluster": "other"}),
        f"{PATCH}.labels: ray.io/cluster: KubeRay finds the pods of a cluster by such labels",
    ),
    (
        "PodPatchConflict",
        patched(annotations={"ray.io/overwrite-container-cmd": "true"}),
        f"{PATCH}.annotations: ray.io/overwrite-container-cmd: KubeRay is told by such annotations how to run a pod",
    ),
    (
        "PodPatchConflict",
        patched(annotations={"container.apparmor.security.beta.kubernetes.io/ray-worker": "unconfined"}),
        f"{PATCH}.annotations: container.apparmor.security.beta.kubernetes.io/ray-worker: the confinement of the pods may "
        "not be changed",
    ),
    (
        "CredentialConflict",
        rollout_job(credentials=[{"name": "ray-auth-token", "secretRef": SECRET, "as": "Env"}]),
        "spec.credentials[0].name: the variable RAY_AUTH_TOKEN is not a manifest's to set",
    ),
    (
        "CredentialConflict",
        rollout_job(credentials=[{"name": "a", "secretRef": SECRET, "mountPath": "/etc/mora/job.json"}]),
        "spec.credentials[0].mountPath: /etc/mora/job.json would lie over /etc/mora, which the operator mounts",
    ),
    (
        "CredentialConflict",
        rollout_job(credentials=[{"name": name, "secretRef": SECRET, "mountPath": "/x"} for name in ("a", "b")]),
        "spec.credentials[1].mountPath: something else is mounted at /x",
    ),
    # ------------------------------------------------------------ amounts
    (
        "InvalidResources",
        amounts({}, {"gpu": 1}),
        f"{LIMITS}.gpu: there is no such resource; devices have names like nvidia.com/gpu",
    ),
    (
        "InvalidResources",
        amounts({}, {"nvidia.com/gpu": "1500m"}, "head"),
        "spec.cluster.head.resources.limits.nvidia.com/gpu: must be a whole number, not 1500m",
    ),
    (
        "InvalidResources",
        amounts({"memory": "2Gi"}, {"memory": "2G"}),
        "spec.cluster.workers.resources.requests.memory: is more than the limit of 2G",
    ),
    (
        "InvalidResources",
        amounts({"nvidia.com/gpu": 1}, {}),
        "spec.cluster.workers.resources.requests.nvidia.com/gpu: give it in limits: this resource cannot be shared",
    ),
    (
        "InvalidResources",
        amounts({"nvidia.com/gpu": 1}, {"nvidia.com/gpu": 2}),
        "spec.cluster.workers.resources.requests.nvidia.com/gpu: must equal the limit of 2: this resource cannot be shared",
    ),
    (
        "InvalidResources",
        amounts({}, {"hugepages-2Mi": "4Mi"}),
        f"{LIMITS}.hugepages-2Mi: goes with cpu or memory only",
    ),
    # ------------------------------------------------------------ engines and trainers
    (
        "AcceleratorsMissing",
        rollout_job(engine=engine(2, 2)),
        f"spec.engine: it takes 4 GPUs, and {LIMITS} has no nvidia.com/gpu",
    ),
    (
        "AcceleratorsMissing",
        rollout_job(engine=engine(4), replicas=8, cluster=gpus(2)),
        f"spec.engine.tensorParallelSize: it takes 4 GPUs of one worker, and {LIMITS} gives it 2",
    ),
    (
        "AcceleratorsMissing",
        rollout_job(rewards=[judge(1, 4)], cluster=gpus(2)),
        "spec.rewards[0].judge.engine.pipelineParallelSize: all workers together have room for 2 of 4 stages",
    ),
    (
        "AcceleratorsMissing",
        rewrite(2, **gpus(1)),
        f"spec.rewriter.engine.tensorParallelSize: it takes 2 GPUs of one worker, and {LIMITS} gives it 1",
    ),
    (
        "AcceleratorsMissing",
        align(4, **gpus(2)),
        f"spec.trainer.workersPerNode: 4 workers take a GPU each, and {LIMITS} gives a node 2",
    ),
    (
        "AcceleratorsMissing",
        align(1, engine(2)),
        f"spec.generation.engine: it takes 2 GPUs, and {LIMITS} has no nvidia.com/gpu",
    ),
    (
        "ProcessorsMissing",
        rollout_job(engine=engine(4), cluster=gpus(4, cpu="2500m")),
        "spec.cluster.workers.resources.requests.cpu: 4 GPUs of a worker are used, with a CPU each, and it has 3",
    ),
    (
        "ProcessorsMissing",
        align(8, **gpus(8, cpu="4")),
        "spec.cluster.workers.resources.requests.cpu: 8 GPUs of a worker are used, with a CPU each, and it has 4",
    ),
]


@pytest.mark.parametrize(("reason", "job", "message"), BLOCKED)
def test_a_job_that_cannot_run_says_why(reason: str, job: Job, message: str) -> None:
    assert list(blockers(job, SETTINGS)) == [(reason, message)]
    assert clip(message) == message


def test_an_image_must_come_from_somewhere() -> None:
    message = "spec.cluster.image: no image is given, and this installation has no default one"
    assert list(blockers(rollout_job(), Settings())) == [("ImageMissing", message)]
    assert list(blockers(rollout_job(cluster={"image": "mine:1"}), Settings())) == []


def test_every_reason_is_in_the_table() -> None:
    source = Path(module.__file__).read_text()
    reasons = set(re.findall(r'yield "(\w+)"', source)) | {"RelativeURI", "QueueConflict"}
    assert reasons - {"ImageMissing"} == {reason for reason, _, _ in BLOCKED}


@pytest.mark.parametrize(
    "job",
    [
        rollout_job(),
        rollout_job({"labels": QUEUE}),
        rollout_job({"labels": {next(iter(QUEUE)): ""}}, cluster={"retainOnFailure": "All"}),  # no queue
        rollout_job(engine=engine(4, 2), cluster=gpus(4, cpu="4")),
        rollout_job(engine=engine(4, 2), cluster=gpus(8, cpu="8")),
        rollout_job(rewards=[judge(2)], cluster=gpus(2)),
        rollout_job(engine=engine(8), cluster={"workers": {"pod": {"resourceClaims": [{"name": "g", "resourceClaimName": "g"}]}}}),
        align(4, **gpus(4, cpu="4")),
        align(4),  # on CPUs
        amounts({"cpu": "500m", "memory": "1Gi"}, {"cpu": "1", "memory": "1024Mi", "nvidia.com/gpu": 1, "hugepages-1Gi": "1Gi"}),
        mounted("/tmp/ray"),
        mounted("/etcetera"),
        patched(env=[{"name": "RAY_memory_monitor_refresh_ms", "value": "0"}], labels={"team": "a"}),
    ],
)  # fmt: skip
def test_a_job_that_can_run_is_not_kept_from_it(job: Job) -> None:
    assert list(blockers(job, SETTINGS)) == []


def test_engines_of_the_jobs_that_it_builds_on_must_find_room_too() -> None:
    source = rollout_job(engine=engine(4))
    name = "RolloutJob/tiny: spec.engine"
    missing = f"{name}.tensorParallelSize: it takes 4 GPUs of one worker, and {LIMITS} gives it 2"
    assert list(blockers(rewrite(2, **gpus(2)), SETTINGS, [source])) == [("AcceleratorsMissing", missing)]
    assert list(blockers(align(2, **gpus(2)), SETTINGS, [source])) == [("AcceleratorsMissing", missing)]
    assert list(blockers(align(2, engine(2), **gpus(2)), SETTINGS, [source])) == [], "evaluation has its own engine"
