"""A namespace of a test, with what KubeRay, the kubelet and drivers would do in it: the test writes RayJobs' statuses."""

import json
import ssl
from collections.abc import Callable
from typing import Any

import httpx
from control_plane import Cluster
from operator_process import Api, Object, Operator, wait_until
from small_job import small_job

SECONDS = 30
INITIALIZING = {"jobDeploymentStatus": "Initializing", "rayClusterName": "x-a1-c"}
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "x-a1-c", "jobId": "x-a1-j"}
SUCCEEDED = RUNNING | {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
FAILED = RUNNING | {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}


class Team:
    """A namespace of a test, with what KubeRay, the kubelet and drivers would do in it."""

    def __init__(self, cluster: Cluster, operator: Operator, name: str) -> None:
        self.cluster, self.operator, self.name = cluster, operator, name
        self.api = Api(cluster, name)
        self.get = self.api.get

    def kubectl(self, *args: str) -> str:
        return self.cluster.kubectl("-n", self.name, *args).stdout

    def apply_job(self, name: str, **spec: Any) -> None:
        self.api.create("rolloutjob", small_job(name, **spec))

    def status(self, name: str) -> Object:
        job = self.get("rolloutjob", name)
        assert job is not None
        status: Object = job["status"]
        return status

    def await_status(self, name: str, holds: Callable[[Object], bool]) -> Object:
        def look() -> Object | None:
            status = self.status(name)
            return status if holds(status) else None

        def tell() -> str:
            return json.dumps(self.status(name), indent=1) + self.operator.log[-2000:]

        found: Object = wait_until(look, SECONDS, tell)
        return found

    def await_phase(self, name: str, phase: str) -> Object:
        return self.await_status(name, lambda status: status.get("phase") == phase)

    def await_object(self, kind: str, name: str) -> Object:
        found: Object = wait_until(lambda: self.get(kind, name), SECONDS, lambda: self.operator.log[-3000:])
        return found

    def head_pod(self, rayjob: str) -> Callable[[Object], None]:
        """A pod of the attempt, without a kubelet; what is returned writes the state of its container."""
        head = self.await_object("rayjob", rayjob)["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
        name, container = f"{rayjob}-head", {"name": "ray-head", "image": "no/such:1"}
        body = {"metadata": {"name": name, "labels": head["metadata"]["labels"]}, "spec": {"containers": [container]}}
        self.api.create("pod", body)

        def kubelet_says(state: Object) -> None:
            one = container | {"imageID": "", "ready": False, "restartCount": 0, "state": state}
            self.api.merge("pod", f"{name}/status", {"status": {"phase": "Pending", "containerStatuses": [one]}})

        return kubelet_says

    def a_whole_job(self, name: str) -> None:
        """A job from its beginning to its end, with a report on the way."""
        self.apply_job(name)
        self.kuberay_says(f"{name}-a1", RUNNING)
        self.await_phase(name, "Running")
        assert self.report(name, {"progress": {"progressPercentage": 50}}).status_code == 200
        self.await_status(name, lambda status: "progress" in status)
        self.kuberay_says(f"{name}-a1", SUCCEEDED)
        self.await_phase(name, "Complete")

    def kuberay_says(self, rayjob: str, status: Object) -> None:
        self.await_object("rayjob", rayjob)
        self.api.merge("rayjob", f"{rayjob}/status", {"status": status})

    def token(self, account: str, audience: str) -> str:
        request = {"spec": {"audiences": [audience], "expirationSeconds": 3600}}
        token: str = self.api.create("serviceaccount", request, f"{account}/token")["status"]["token"]
        return token

    def audience(self, name: str, attempt: int = 1) -> str:
        job = self.get("rolloutjob", name)
        assert job is not None
        return f"mora.dev/{self.name}/RolloutJob/{name}/{job['metadata']['uid']}/{attempt}"

    def trust(self, rayjob: str) -> ssl.SSLContext:
        """What a pod of this attempt trusts: the authority in its ConfigMap."""
        config = self.get("configmap", rayjob)
        assert config is not None
        return ssl.create_default_context(cadata=config["data"]["ca.crt"])

    def report(self, name: str, body: Object | bytes, token: str | None = None, attempt: int = 1) -> httpx.Response:
        """POST as the driver of an attempt does."""
        token = token or self.token(f"{name}-rlj", self.audience(name, attempt))
        url = f"{self.operator.progress}/{self.name}/rolloutjobs/{name}/{attempt}"
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.post(url, content=content, headers=headers, verify=self.trust(f"{name}-a1"), timeout=30)
