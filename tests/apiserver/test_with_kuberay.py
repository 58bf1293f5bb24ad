"""The operator and KubeRay's real controller on one real API server, in a namespace that enforces Pod Security `restricted`.

No kubelet, no Ray and no kube-controller-manager are there. Where one of them is needed for the next step, the test says
so and writes what it would have written: `kubelet_says` for pods, `ray_says` for the end of a Ray job.
"""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from control_plane import Cluster, assets, running
from kuberay_process import install_crds, missing, running_kuberay
from operator_process import PATHS, Api, Object, Operator, install, running_operator, wait_until

SECONDS = 30
TEAM = "restricted-team"
ATTEMPT_LABEL, NAME_LABEL = "mora.dev/attempt", "mora.dev/name"
QUEUE = {"kueue.x-k8s.io/queue-name": "gpus"}
FINALIZER = "ray.io/rayjob-finalizer"
PATHS.update(
    rewritejob="apis/mora.dev/v1alpha1/namespaces/{}/rewritejobs",
    alignmentjob="apis/mora.dev/v1alpha1/namespaces/{}/alignmentjobs",
    raycluster="apis/ray.io/v1/namespaces/{}/rayclusters",
    job="apis/batch/v1/namespaces/{}/jobs",
    secret="api/v1/namespaces/{}/secrets",
)
LENGTH = {"name": "length", "python": {"callable": "rewards:length"}}
RESULT = {"output": {"uri": "pvc://data/runs"}, "cluster": {"ttlSecondsAfterFinished": 0}}
SPECS: dict[str, Object] = {
    "RolloutJob": {
        "model": {"uri": "pvc://models/tiny"},
        "prompts": {"uri": "pvc://data/prompts.jsonl"},
        "rewards": [LENGTH],
        "replicas": 2,
        **RESULT,
    },
    "RewriteJob": {
        "source": {"rolloutJobRef": {"name": "first"}},
        "rewriter": {"templates": [{"name": "steps", "template": "{{ prompt }} Give the steps."}]},
        **RESULT,
    },
    "AlignmentJob": {
        "model": {"uri": "pvc://models/tiny"},
        "data": {"rolloutJobRef": {"name": "first"}},
        "objectives": [{"name": "length"}],
        "trainer": {"nodes": 3},
        "lora": {},
        **RESULT,
    },
}
# Names of the jobs that all tests look at, their worker group and its size.
JOBS = {"RolloutJob": ("first", "engine", 2), "RewriteJob": ("second", "engine", 1), "AlignmentJob": ("third", "trainer", 3)}  # fmt: skip


class Team:
    """A namespace, and what other parts of a cluster would do in it."""

    def __init__(self, cluster: Cluster, operator: Operator) -> None:
        self.cluster, self.operator = cluster, operator
        self.api = Api(cluster, TEAM)

    def get(self, kind: str, name: str) -> Object:
        found = self.api.get(kind, name)
        assert found is not None, f"{kind} {name}"
        return found

    def of_attempt(self, kind: str, rayjob: str) -> list[Object]:
        """All objects of a kind that carry the labels of an attempt, given by the name of its RayJob."""
        name, _, attempt = rayjob.rpartition("-a")
        listed = self.api.get(kind) or {"items": []}
        labels = {NAME_LABEL: name, ATTEMPT_LABEL: attempt}
        return [each for each in listed["items"] if labels.items() <= each["metadata"].get("labels", {}).items()]

    def until(self, holds: Any, what: str) -> Any:
        def tell() -> str:
            kuberay = (self.cluster.folder / "kuberay.log").read_text()
            return f"{what}: it did not happen\n{self.operator.log[-2000:]}\n{kuberay[-4000:]}"

        return wait_until(holds, SECONDS, tell)

    def apply_job(self, kind: str, name: str, labels: Object | None = None, **spec: Any) -> None:
        metadata = {"name": name, "labels": {"team": "a"} | (labels or {})}
        document = {"apiVersion": "mora.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": SPECS[kind] | spec}
        self.api.create(kind.lower(), document)

    def await_phase(self, kind: str, name: str, phase: str) -> Object:
        def look() -> Object | None:
            status: Object = self.get(kind.lower(), name).get("status", {})
            return status if status.get("phase") == phase else None

        found: Object = self.until(look, f"{kind} {name} is {phase}")
        return found

    def await_ray(self, rayjob: str, pods: int) -> list[Object]:
        """The pods of an attempt, head first, when KubeRay has made them all and the RayJob says so."""

        def look() -> list[Object] | None:
            made, status = self.api.get("rayjob", rayjob), {}
            status = (made or {}).get("status", {})
            assert status.get("jobDeploymentStatus") != "ValidationFailed", status["message"]
            found = self.of_attempt("pod", rayjob)
            found.sort(key=lambda pod: pod["metadata"]["labels"]["ray.io/node-type"])
            return found if len(found) == pods and status.get("jobDeploymentStatus") == "Initializing" else None

        made: list[Object] = self.until(look, f"RayJob {rayjob} has {pods} pods")
        return made

    def kubelet_says(self, pods: list[Object]) -> None:
        """They run and are ready."""
        conditions = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")]  # fmt: skip
        for each in pods:
            ran = {"phase": "Running", "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}], "conditions": conditions}
            self.api.merge("pod", f"{each['metadata']['name']}/status", {"status": ran})

    def ray_says(self, rayjob: str) -> None:
        """Its job succeeded; KubeRay would have read that from the dashboard."""
        end = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "endTime": end}
        self.api.merge("rayjob", f"{rayjob}/status", {"status": status})


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane of its own: KubeRay would take up the RayJobs of other tests, in which the test plays KubeRay."""
    if lacking := missing(assets()):
        pytest.skip(lacking)
    with running(tmp_path_factory.mktemp("with-kuberay")) as cluster:
        cluster.install_crds()
        install(cluster)
        install_crds(cluster)
        level = {"pod-security.kubernetes.io/enforce": "restricted"}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TEAM, "labels": level}})
        yield cluster


@pytest.fixture(scope="module")
def team(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("operator")
    with running_kuberay(cluster, cluster.folder, "--reconcile-concurrency=10"), running_operator(cluster, folder) as operator:  # fmt: skip
        yield Team(cluster, operator)
        assert 'code="403"' not in operator.metrics(), "the chart's rights are not enough"
        assert "Traceback" not in operator.log


@pytest.fixture(scope="module")
def pods(team: Team) -> dict[str, list[Object]]:
    """One job of each kind with its pods, pending. The first is over then: the others refer to it."""
    made = {}
    for kind, (name, _, workers) in JOBS.items():
        team.apply_job(kind, name)
        made[kind] = team.await_ray(f"{name}-a1", 1 + workers)
        if kind == "RolloutJob":
            check_provisioning(team, kind)
            team.kubelet_says(made[kind])
            team.await_phase(kind, name, "Running")
            team.ray_says(f"{name}-a1")
            team.await_phase(kind, name, "Complete")
    return made


def check_provisioning(team: Team, kind: str) -> None:
    name, group, workers = JOBS[kind]
    status = team.await_phase(kind, name, "Provisioning")
    rayjob = team.get("rayjob", f"{name}-a1")
    cluster_name = rayjob["status"]["rayClusterName"]
    attempt = {"index": 1, "rayJobName": f"{name}-a1", "rayClusterName": cluster_name}
    assert attempt.items() <= status["currentAttempt"].items()
    ray_cluster = team.get("raycluster", cluster_name)
    (made,) = ray_cluster["spec"]["workerGroupSpecs"]
    assert (made["groupName"], made["replicas"]) == (group, workers)
    assert not ray_cluster["spec"].get("enableInTreeAutoscaling")
    for labels in (rayjob["metadata"]["labels"], ray_cluster["metadata"]["labels"]):
        assert "team" not in labels, "labels that are not about queues stay on the job"


@pytest.mark.parametrize("kind", ["RewriteJob", "AlignmentJob"])
def test_a_job_becomes_a_ray_cluster(team: Team, pods: dict[str, list[Object]], kind: str) -> None:
    check_provisioning(team, kind)  # of the RolloutJob it was looked at while it was provisioned


@pytest.mark.parametrize("kind", JOBS)
def test_pods_that_kuberay_made_are_hardened_and_can_be_told_apart(pods: dict[str, list[Object]], kind: str) -> None:
    """Admission let them in, with all that KubeRay put into them: an init container, probes and variables."""
    name, group, workers = JOBS[kind]
    head, *others = pods[kind]
    assert [each["metadata"]["labels"]["ray.io/group"] for each in pods[kind]] == ["headgroup", *[group] * workers]
    assert [each["name"] for each in head["spec"]["containers"]] == ["ray-head"], "no autoscaler beside it"
    for pod in pods[kind]:
        ours = {NAME_LABEL: name, "mora.dev/kind": kind, ATTEMPT_LABEL: "1"}
        assert ours.items() <= pod["metadata"]["labels"].items(), "the NetworkPolicy selects by these"
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        for container in (*spec["containers"], *spec.get("initContainers", [])):
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, container["name"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, container["name"]
        (ray,) = spec["containers"]
        assert {"livenessProbe", "readinessProbe"} <= ray.keys()
        assert ray["command"][0] == "/bin/bash"
    tokens = [source for each in head["spec"]["volumes"] for source in each.get("projected", {}).get("sources", [])]
    assert [source["serviceAccountToken"]["path"] for source in tokens] == ["token"]
    assert not [each for pod in others for each in pod["spec"]["volumes"] if "projected" in each], "the driver's alone"


@pytest.mark.parametrize("kind", JOBS)
def test_ray_demands_a_token_that_kuberay_made(team: Team, pods: dict[str, list[Object]], kind: str) -> None:
    cluster_name = pods[kind][0]["metadata"]["labels"]["ray.io/cluster"]
    secret = team.get("secret", cluster_name)
    assert secret["metadata"]["ownerReferences"][0]["kind"] == "RayCluster"
    expected = {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": {"name": cluster_name, "key": "auth_token"}}}
    for pod in pods[kind]:
        for container in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])):
            assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"], container["name"]
            assert expected in container["env"], container["name"]


@pytest.mark.parametrize("kind", JOBS)
def test_a_job_runs_and_its_cluster_goes_when_it_is_done(team: Team, pods: dict[str, list[Object]], kind: str) -> None:
    name = JOBS[kind][0]
    if kind != "RolloutJob":
        team.kubelet_says(pods[kind])
        status = team.await_phase(kind, name, "Running")
        assert status["links"]["dashboardURL"].startswith("http://")
        team.ray_says(f"{name}-a1")
        team.await_phase(kind, name, "Complete")
    team.until(
        lambda: not team.of_attempt("raycluster", f"{name}-a1"), "KubeRay deletes the cluster of a job that is over"
    )
    rayjob = team.get("rayjob", f"{name}-a1")
    assert rayjob["status"]["jobDeploymentStatus"] == "Complete", "it stays for its logs and status"


def test_the_submitter_is_ours_with_kuberays_command(team: Team, pods: dict[str, list[Object]]) -> None:
    ours = team.get("rayjob", "first-a1")["spec"]["submitterPodTemplate"]
    job = team.get("job", "first-a1")
    made = job["spec"]["template"]
    assert job["spec"]["backoffLimit"] == 6
    assert ours["metadata"]["labels"].items() <= made["metadata"]["labels"].items()
    (container,) = made["spec"].pop("containers")
    (wanted,) = ours["spec"].pop("containers")
    assert ours["spec"].items() <= made["spec"].items()
    assert wanted.items() <= container.items()
    assert "command" not in wanted
    assert "-- python -m mora_jobs --job /etc/mora/job.json" in container["args"][0]
    assert {"RAY_AUTH_TOKEN", "RAY_DASHBOARD_ADDRESS"} <= {each["name"] for each in container["env"]}
    # No job controller is here to make its pod: a dry run shows what admission would say of it.
    pod = {"metadata": {"name": "submitter"}, "spec": made["spec"] | {"containers": [container]}}
    team.api.create("pod", pod, dryRun="All", fieldValidation="Strict")
    naked = {"metadata": {"name": "naked"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        team.api.create("pod", naked, dryRun="All")


def test_a_suspended_job_gives_its_cluster_back_and_resumes_with_another(team: Team) -> None:
    team.apply_job("RolloutJob", "pause")
    team.await_ray("pause-a1", 3)
    team.api.merge("rolloutjob", "pause", {"spec": {"suspend": True}})
    team.await_phase("RolloutJob", "pause", "Suspended")
    assert team.api.get("rayjob", "pause-a1") is None, "KubeRay let go of it"
    team.api.merge("rolloutjob", "pause", {"spec": {"suspend": False}})
    team.await_ray("pause-a2", 3)
    status = team.await_phase("RolloutJob", "pause", "Provisioning")
    assert status["attempts"] == {"current": 2, "failed": 0, "infraRestarts": 0}


def test_a_job_with_a_queue_has_no_pods_until_it_is_admitted(team: Team) -> None:
    team.apply_job("RolloutJob", "queued", QUEUE)
    team.await_phase("RolloutJob", "queued", "Queued")
    team.until(
        lambda: team.get("rayjob", "queued-a1").get("status", {}).get("jobDeploymentStatus") == "Suspended",
        "KubeRay sees that it is suspended",
    )
    assert not team.of_attempt("raycluster", "queued-a1")
    team.api.merge("rayjob", "queued-a1", {"spec": {"suspend": False}})  # as Kueue does when there is room
    team.await_ray("queued-a1", 3)
    team.await_phase("RolloutJob", "queued", "Provisioning")
    (ray_cluster,) = team.of_attempt("raycluster", "queued-a1")
    for made in (team.get("rayjob", "queued-a1"), ray_cluster):
        assert QUEUE.items() <= made["metadata"]["labels"].items()


def test_everything_belongs_to_the_job_and_nothing_holds_it_back(team: Team) -> None:
    """What a garbage collector needs: a chain of owners, and a finalizer that KubeRay takes off without a Ray that answers."""
    team.apply_job("RolloutJob", "owner")
    made = team.await_ray("owner-a1", 3)
    job, rayjob = team.get("rolloutjob", "owner"), team.get("rayjob", "owner-a1")
    assert rayjob["metadata"]["finalizers"] == [FINALIZER]
    assert "finalizers" not in job["metadata"]
    (ray_cluster,) = team.of_attempt("raycluster", "owner-a1")
    chain = [(pod, ray_cluster) for pod in made] + [(ray_cluster, rayjob), (rayjob, job)]
    chain.append((team.get("configmap", "owner-a1"), rayjob))  # it goes with its attempt
    chain += [(team.get(kind, "owner-rlj"), job) for kind in ("serviceaccount", "networkpolicy")]
    for dependent, owner in chain:
        (reference,) = dependent["metadata"]["ownerReferences"]
        assert reference["uid"] == owner["metadata"]["uid"], reference
    team.api.delete("rolloutjob", "owner")
    assert team.api.get("rolloutjob", "owner") is None, "at once"
    time.sleep(1)
    assert team.api.get("rayjob", "owner-a1") is not None, "the operator leaves that to the garbage collector"
    team.api.delete("rayjob", "owner-a1")  # as the garbage collector does
    team.until(lambda: team.api.get("rayjob", "owner-a1") is None, "KubeRay removes its finalizer")
    assert team.api.get("rayjob", "owner-a2") is None


@pytest.mark.parametrize("kind", SPECS)
def test_the_longest_name_is_not_too_long_for_kuberay(team: Team, pods: dict[str, list[Object]], kind: str) -> None:
    name = f"{'n' * 36}-{kind[:3].lower()}"
    assert len(name) == 40
    team.apply_job(kind, name)
    head, *_ = team.await_ray(f"{name}-a1", 1 + JOBS[kind][2])
    assert head["metadata"]["name"].startswith(f"{name}-a1-")


def test_a_job_without_a_submitter(team: Team) -> None:
    team.apply_job("RolloutJob", "http", cluster={"submissionMode": "HTTPMode"})
    team.kubelet_says(team.await_ray("http-a1", 3))
    team.await_phase("RolloutJob", "http", "Running")
    assert team.api.get("job", "http-a1") is None


def test_kuberay_never_takes_back_that_a_rayjob_is_invalid(team: Team) -> None:
    """Why what we render is checked before: once refused, a RayJob stays so even when its spec is right again."""
    spec = json.loads(json.dumps(team.get("rayjob", "first-a1")["spec"]))
    rules = [{"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 0}}]
    wrong = spec | {"deletionStrategy": {"deletionRules": rules}, "shutdownAfterJobFinishes": True}
    wrong.pop("jobId", None)
    team.api.create(
        "rayjob", {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "wrong"}, "spec": wrong}
    )

    def state() -> str:
        found: str = team.get("rayjob", "wrong").get("status", {}).get("jobDeploymentStatus", "")
        return found

    team.until(lambda: state() == "ValidationFailed", "it is refused")
    team.api.merge("rayjob", "wrong", {"spec": {"deletionStrategy": None}})
    log = team.cluster.folder / "kuberay.log"

    def complaints() -> int:
        return sum(
            "Unknown JobDeploymentStatus" in line and '"wrong"' in line for line in log.read_text().splitlines()
        )

    team.until(lambda: complaints() >= 2, "KubeRay does not know what to do with it, every 3 seconds")
    assert state() == "ValidationFailed"
    team.api.delete("rayjob", "wrong")
