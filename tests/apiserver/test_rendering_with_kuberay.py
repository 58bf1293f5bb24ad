"""KubeRay's own controller takes every RayJob that is rendered, and the pods that it makes of one are let in.

A RayJob that it finds invalid stays so for ever, so nothing that is rendered may be.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from attempts import SETTINGS, attempt, attempt_of, manifests, read
from control_plane import assets, running
from kuberay_process import install_crds, missing, running_kuberay
from operator_process import PATHS, Api, wait_until
from pod_patches import PATCHES
from test_rendering import NAMESPACE, RESTRICTED, SCHEDULING, document, examples

from mora_operator.render.objects import Attempt, ray_job, worker_group

SECONDS = 60
PATHS["raycluster"] = "apis/ray.io/v1/namespaces/{}/rayclusters"


def harmless() -> Iterator[Attempt]:
    """A job for each patch that is let through."""
    for index, patch in enumerate(each for each in PATCHES if each.outcome == "harmless"):
        manifest = document(patch.spec) | {"metadata": {"name": f"patch-{index}"}}
        yield attempt(read(manifest), (), NAMESPACE)


ATTEMPTS = [
    *(attempt_of(path, NAMESPACE) for path in manifests()),
    *(attempt(job, others, NAMESPACE) for _, job, others in examples()),
    *harmless(),
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    if lacking := missing(assets()):
        pytest.skip(lacking)
    with running(tmp_path_factory.mktemp("rendering-with-kuberay")) as cluster:
        install_crds(cluster)
        cluster.apply(RESTRICTED, *SCHEDULING)
        with running_kuberay(cluster, cluster.folder, "--reconcile-concurrency=20"):
            api = Api(cluster, NAMESPACE)
            for each in ATTEMPTS:
                api.create("rayjob", ray_job(each, SETTINGS))
            yield api


@pytest.mark.parametrize("made", ATTEMPTS, ids=lambda made: made.key.name)
def test_kuberay_makes_a_cluster_of_every_rayjob(api: Api, made: Attempt) -> None:
    def status() -> dict[str, Any]:
        rayjob = api.get("rayjob", made.name)
        assert rayjob is not None
        found: dict[str, Any] = rayjob.get("status", {})
        assert found.get("jobDeploymentStatus") != "ValidationFailed", found["message"]
        return found

    def reaches(stage: str) -> None:
        wait_until(lambda: status().get("jobDeploymentStatus") == stage, SECONDS, lambda: str(status()))

    rendered = api.get("rayjob", made.name)
    assert rendered is not None
    if rendered["spec"].get("suspend"):
        reaches("Suspended")
        api.merge("rayjob", made.name, {"spec": {"suspend": False}})  # as Kueue does when there is room
    reaches("Initializing")
    group = worker_group(made.job, made.references)

    def events() -> str:
        found = api.get("event")
        assert found is not None
        return str([each.get("note") for each in found["items"] if made.name in each["regarding"]["name"]])

    count = 1 + group.replicas * group.hosts
    wait_until(lambda: len(pods_of(api, made)) == count, SECONDS, lambda: f"{pods_of(api, made)} {events()}")


@pytest.mark.parametrize(
    ("retain", "ended", "left"),
    [
        ("Head", {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}, 1),
        ("Head", {"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING", "reason": "DeadlineExceeded"}, 1),
        ("All", {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}, 3),
        ("All", {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, 0),
    ],
)
def test_what_stays_after_the_end(api: Api, retain: str, ended: dict[str, Any], left: int) -> None:
    spec = {"replicas": 2, "cluster": {"retainOnFailure": retain, "ttlSecondsAfterFinished": 0}}
    name = f"retain-{retain}-{ended['jobStatus']}".lower()
    made = attempt(read(document(spec) | {"metadata": {"name": name}}), (), NAMESPACE)
    api.create("rayjob", ray_job(made, SETTINGS))
    wait_until(lambda: len(pods_of(api, made)) == 3, SECONDS, lambda: str(pods_of(api, made)))
    api.merge("rayjob", f"{made.name}/status", {"status": ended | {"endTime": "2026-01-01T00:00:00Z"}})
    if left == 3:
        time.sleep(4)  # longer than KubeRay waits before it looks again
    wait_until(lambda: clusters_of(api, made) == min(left, 1), SECONDS, lambda: "the cluster is not what it should be")
    if left:  # pods of a cluster that went are the garbage collector's, which is not here
        wait_until(lambda: len(pods_of(api, made)) == left, SECONDS, lambda: str(pods_of(api, made)))


def pods_of(api: Api, made: Attempt) -> list[str]:
    found = api.get("pod")
    assert found is not None
    return [pod["metadata"]["name"] for pod in found["items"] if pod["metadata"]["name"].startswith(f"{made.name}-")]


def clusters_of(api: Api, made: Attempt) -> int:
    found = api.get("raycluster")
    assert found is not None
    return sum(each["metadata"]["name"].startswith(f"{made.name}-") for each in found["items"])
