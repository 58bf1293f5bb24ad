"""Kueue's real controller with quota for one job, and two jobs: one after the other, and why the second waits is said.

Kueue refuses pods that its flavor has no room for, so the quota is: one job's head, worker and submitter.
"""

import json
import uuid
from collections.abc import Iterator

import pytest
from experiments import SECONDS
from kubectl import Namespace, Object
from statuses import condition, ended
from tiny_jobs import prepare, rollout_job

pytestmark = pytest.mark.e2e


@pytest.fixture
def queue(namespace: Namespace) -> Iterator[str]:
    """A LocalQueue whose ClusterQueue has 1 CPU; a job takes 300m + 300m + 200m."""
    if "workloads.kueue.x-k8s.io" not in namespace.kubectl("get", "crds", "-o", "name"):
        pytest.skip("Kueue is not installed in this cluster")
    prepare(namespace)
    name, kueue = f"one-{uuid.uuid4().hex[:6]}", "kueue.x-k8s.io/v1beta2"
    resources = [{"name": "cpu", "nominalQuota": "1"}, {"name": "memory", "nominalQuota": "16Gi"}]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": name, "resources": resources}]}
    cluster_wide: list[Object] = [
        {"apiVersion": kueue, "kind": "ResourceFlavor", "metadata": {"name": name}},
        {
            "apiVersion": kueue,
            "kind": "ClusterQueue",
            "metadata": {"name": name},
            "spec": {"namespaceSelector": {}, "resourceGroups": [group]},
        },
    ]
    local = {"apiVersion": kueue, "kind": "LocalQueue", "metadata": {"name": "q", "namespace": namespace.name}}
    namespace.apply(*cluster_wide, local | {"spec": {"clusterQueue": name}})
    yield "q"
    namespace.kubectl("delete", "rolloutjobs", "--all")
    namespace.kubectl("delete", "clusterqueue", name, "--wait=false")
    namespace.kubectl("delete", "resourceflavor", name, "--wait=false")


def queued(image: str, name: str, queue: str, **spec: object) -> Object:
    job = rollout_job(image, name, **spec)
    # The quota is free when the job ends, the node when its pods go.
    job["spec"]["cluster"]["ttlSecondsAfterFinished"] = 0
    job["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": queue}
    return job


@pytest.mark.timeout(3 * SECONDS)
def test_one_after_the_other(namespace: Namespace, queue: str, runtime_image: str) -> None:
    namespace.apply(queued(runtime_image, "first", queue))
    namespace.await_job("rolloutjob", "first", SECONDS, until=lambda status: status.get("phase") == "Provisioning")
    namespace.apply(queued(runtime_image, "second", queue))
    waits = namespace.await_job(
        "rolloutjob",
        "second",
        60,
        until=lambda status: "queue" in status and bool(condition(status, "Ready").get("message", "")),
    )[-1]
    print(
        namespace.kubectl("get", "rlj", "-o", "wide"),
        json.dumps(waits["queue"]),
        condition(waits, "Ready").get("message", ""),
    )
    assert waits["phase"] == "Queued"
    assert waits["queue"]["localQueue"] == "q"
    assert condition(waits, "QuotaReserved")["status"] == "False"
    assert "insufficient" in condition(waits, "Ready").get("message", "")

    first = namespace.await_job("rolloutjob", "first", SECONDS, until=ended)
    assert first[-1]["phase"] == "Complete", first[-1]
    assert condition(first[-1], "QuotaReserved")["status"] == "True"
    second = namespace.await_job("rolloutjob", "second", SECONDS, until=ended)
    assert second[-1]["phase"] == "Complete", second[-1]
    phases = [status.get("phase") for status in second]
    assert phases.index("Provisioning") < phases.index("Running"), "it went its way when it was admitted"
    assert second[-1]["attempts"] == {"current": 1, "failed": 0, "infraRestarts": 0}


@pytest.mark.timeout(2 * SECONDS)
def test_a_queued_job_that_is_suspended_leaves_the_queue(namespace: Namespace, queue: str, runtime_image: str) -> None:
    too_much = {"requests": {"cpu": "2", "memory": "1Gi"}}
    cluster = rollout_job(runtime_image)["spec"]["cluster"] | {"workers": {"resources": too_much}}
    namespace.apply(queued(runtime_image, "never", queue, cluster=cluster))
    namespace.await_job("rolloutjob", "never", 60, until=lambda status: "queue" in status)
    assert workloads(namespace)
    namespace.kubectl("patch", "rolloutjob", "never", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    suspended = namespace.await_job("rolloutjob", "never", 60, until=lambda status: status["phase"] == "Suspended")[-1]
    assert suspended.get("queue") is None
    assert not workloads(namespace)


def workloads(namespace: Namespace) -> list[Object]:
    return [each for each in namespace.listed("workloads") if "deletionTimestamp" not in each["metadata"]]
