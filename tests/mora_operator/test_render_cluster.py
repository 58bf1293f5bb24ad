"""The Ray cluster of an attempt: its size, its queue, and what becomes of it."""

from typing import Any

import pytest
from attempts import templates
from builders import rollout_job
from rendered import objects

from mora_jobs.api import AlignmentJob, Job, RewriteJob
from mora_operator.render.objects import WorkerGroup, gpu_count, worker_group

QUEUE = "kueue.x-k8s.io/queue-name"


def limits(gpus: int) -> dict[str, Any]:
    return {"workers": {"resources": {"limits": {"nvidia.com/gpu": gpus}}}}


def rollout(tensor: int, pipeline: int, replicas: int, gpus: int) -> Job:
    engine = {"tensorParallelSize": tensor, "pipelineParallelSize": pipeline}
    return rollout_job(engine=engine, replicas=replicas, cluster=limits(gpus))


def rewrite(gpus: int) -> Job:
    spec = {
        "source": {"rolloutJobRef": {"name": "tiny"}},
        "rewriter": {"model": {"uri": "pvc://m/m"}, "engine": {"tensorParallelSize": 2}},
        "output": {"uri": "pvc://data/rewrite"},
        "cluster": limits(gpus),
    }
    return RewriteJob.model_validate({"metadata": {"name": "second"}, "spec": spec})


def align(gpus: int) -> Job:
    spec = {
        "model": {"uri": "pvc://models/tiny"},
        "data": {"rolloutJobRef": {"name": "tiny"}},
        "objectives": [{"name": "length"}],
        "trainer": {"nodes": 3, "workersPerNode": 2},
        "lora": {},
        "output": {"uri": "pvc://data/align"},
        "cluster": limits(gpus),
    }
    return AlignmentJob.model_validate({"metadata": {"name": "third"}, "spec": spec})


@pytest.mark.parametrize(
    ("job", "references", "group", "gpus"),
    [
        (rollout_job(), (), WorkerGroup("engine", 1), 0),
        (rollout_job(replicas=4), (), WorkerGroup("engine", 4), 0),
        (rollout(1, 1, 4, 1), (), WorkerGroup("engine", 4), 4),
        (rollout(4, 2, 3, 4), (), WorkerGroup("engine", 3, hosts=2), 24),
        (rollout(2, 4, 1, 4), (), WorkerGroup("engine", 1, hosts=2), 8),  # two stages find room on a worker
        (rollout(4, 2, 3, 8), (), WorkerGroup("engine", 3), 24),  # and here the whole engine
        (rewrite(2), (), WorkerGroup("engine", 1), 2),
        (rewrite(2), (rollout(2, 3, 8, 2),), WorkerGroup("engine", 1, hosts=3), 6),  # its rollout job's engine
        (align(2), (), WorkerGroup("trainer", 3), 6),
        (align(0), (), WorkerGroup("trainer", 3), 0),
    ],
)
def test_workers_and_gpus(job: Job, references: tuple[Job, ...], group: WorkerGroup, gpus: int) -> None:
    assert worker_group(job, references) == group
    assert gpu_count(job, references) == gpus
    (spec,) = objects(job, references=references)["RayJob"]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (spec["replicas"], spec["minReplicas"], spec["maxReplicas"]) == (group.replicas,) * 3
    assert (spec["groupName"], spec["numOfHosts"]) == (group.name, group.hosts)


@pytest.mark.parametrize(
    ("limit", "gpus"),
    [
        ({"nvidia.com/gpu": "2"}, 2),
        ({"amd.com/gpu": 8}, 8),
        ({"nvidia.com/mig-1g.10gb": "3"}, 3),
        ({"nvidia.com/gpu": "0", "vendor.example/gpu": "1"}, 1),
        ({"nvidia.com/gpu": "2k"}, 2000),
        ({"cpu": "8", "google.com/tpu": "4"}, 0),
    ],
)
def test_gpus_are_those_that_kuberay_tells_ray_of(limit: dict[str, Any], gpus: int) -> None:
    assert gpu_count(rollout_job(cluster={"workers": {"resources": {"limits": limit}}})) == gpus


def test_ray_learns_of_cpus_and_gpus_by_the_workers_limits_and_runs_nothing_on_the_head() -> None:
    cluster = objects(rollout(1, 1, 1, 1))["RayJob"]["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    assert cluster["workerGroupSpecs"][0]["rayStartParams"] == {}


# ---------------------------------------------------------------- what becomes of it
def test_a_cluster_goes_after_its_time_unless_it_is_to_stay_after_a_failure() -> None:
    spec = objects(rollout_job(cluster={"ttlSecondsAfterFinished": 7}))["RayJob"]["spec"]
    assert (spec["shutdownAfterJobFinishes"], spec["ttlSecondsAfterFinished"]) == (True, 7)
    assert "deletionStrategy" not in spec


@pytest.mark.parametrize(("retain", "policy"), [("Head", "DeleteWorkers"), ("All", "DeleteNone")])
def test_what_stays_after_a_failure(retain: str, policy: str) -> None:
    """Pitfall: deletion rules exclude shutdownAfterJobFinishes and ttlSecondsAfterFinished."""
    cluster = {"retainOnFailure": retain, "ttlSecondsAfterFinished": 7}
    spec = objects(rollout_job(cluster=cluster))["RayJob"]["spec"]
    assert spec["shutdownAfterJobFinishes"] is False
    assert "ttlSecondsAfterFinished" not in spec
    assert spec["deletionStrategy"]["deletionRules"] == [
        {"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 7}},
        {"policy": policy, "condition": {"jobDeploymentStatus": "Failed", "ttlSeconds": 0}},
    ]


# ---------------------------------------------------------------- queues
@pytest.mark.parametrize(("labels", "suspended"), [({}, None), ({QUEUE: "gpu"}, True), ({QUEUE: ""}, None)])
def test_a_queued_job_is_born_suspended(labels: dict[str, str], suspended: bool | None) -> None:
    spec = objects(rollout_job({"labels": labels}))["RayJob"]["spec"]
    assert spec.get("suspend") is suspended
    assert spec["shutdownAfterJobFinishes"] is True, "KubeRay suspends no other"


def test_labels_of_queues_are_copied_and_others_are_not() -> None:
    """Pitfall: batch schedulers read their labels on the RayJob; those of GitOps tools would make them prune it."""
    ours = {
        "volcano.sh/queue-name": "q",
        "ray.io/gang-scheduling-enabled": "true",
        "ray.io/priority-class-name": "high",
    }
    theirs = {"argocd.argoproj.io/instance": "x", "helm.toolkit.fluxcd.io/name": "x", "mora.dev/name": "stolen"}
    made = objects(rollout_job({"labels": ours | theirs}))
    copied = made["RayJob"]["metadata"]["labels"]
    assert ours.items() <= copied.items()
    assert copied["mora.dev/name"] == "tiny"
    everything = [made[kind]["metadata"] for kind in made] + [
        template["metadata"] for template in templates(made["RayJob"]).values()
    ]
    for metadata in everything:
        assert not [label for label in metadata["labels"] if label.startswith(("argocd", "helm"))]
        assert "volcano.sh/queue-name" not in metadata["labels"] or metadata is made["RayJob"]["metadata"]


def test_annotations_go_where_they_are_read() -> None:
    topology = {"kueue.x-k8s.io/podset-required-topology": "rack"}
    request = {"provreq.kueue.x-k8s.io/maxRunDurationSeconds": "60", "volcano.sh/x": "y"}
    other = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "argocd.argoproj.io/tracking-id": "x"}
    made = objects(rollout_job({"annotations": topology | request | other}))["RayJob"]
    assert made["metadata"]["annotations"] == request
    pods = templates(made)
    assert pods["worker"]["metadata"]["annotations"] == topology
    assert "annotations" not in pods["head"]["metadata"]
    assert "annotations" not in pods["submitter"]["metadata"]
    assert "annotations" not in objects(rollout_job())["RayJob"]["metadata"]
