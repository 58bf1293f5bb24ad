"""What is rendered, on a real API server: strictly valid for every KubeRay, and pods that pass Pod Security `restricted`.

A control plane of its own, because KubeRay's CRDs of several versions are installed one after the other.
"""

import itertools
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from attempts import SETTINGS, VERSIONS, all_objects, attempt, attempt_of, crd, manifests, schema, templates
from control_plane import Cluster, running
from operator_process import wait_until
from plain_examples import plain_examples
from pod_patches import PATCHES, Patch

from mora_jobs.api import KINDS, Job
from mora_jobs.api.cluster import Retain
from mora_jobs.validation.cel_rules import broken_rules
from mora_jobs.validation.schema_faults import parse
from mora_jobs.validation.schema_faults import schema as own_schema
from mora_operator.plan.blockers import blockers
from mora_operator.render.names import CONFIG, SCRATCH, SHARED_MEMORY, TOKEN
from mora_operator.render.objects import Attempt, ray_job
from mora_operator.render.rayjob_schema import RayJobSchema, UnsupportedKubeRay
from mora_operator.resources import JOBS, Resource

NAMESPACE = "restricted"
PODS = Resource("", "v1", "pods", "Pod")
OPENAPI = "/openapi/v3/apis/ray.io/v1"
RESTRICTED: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
}
SCHEDULING: list[dict[str, Any]] = [
    {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"},
    {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000},
]


class Server:
    """Dry runs with strict validation, in a namespace that enforces Pod Security `restricted`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        headers = {"Authorization": f"Bearer {cluster.token}"}
        context = ssl.create_default_context(cafile=str(cluster.ca))
        self._http = httpx.Client(base_url=cluster.url, headers=headers, verify=context, timeout=30)

    def get(self, path: str) -> httpx.Response:
        return self._http.get(path)

    def try_to_create(self, resource: Resource, body: dict[str, Any]) -> httpx.Response:
        parameters = {"dryRun": "All", "fieldValidation": "Strict"}
        return self._http.post(resource.path(NAMESPACE), json=body, params=parameters)

    def create_pods(self, rayjob: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The pods that the API server would make of a RayJob's templates, by role."""
        made = {}
        for role, template in templates(rayjob).items():
            pod = {"metadata": template["metadata"] | {"name": role}, "spec": template["spec"]}
            answer = self.try_to_create(PODS, pod)
            assert answer.status_code == 201, f"{role}: {answer.text}"
            assert "warning" not in answer.headers, f"{role}: {answer.headers['warning']}"
            made[role] = answer.json()
        return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("rendering")) as cluster:
        cluster.install_crds()
        cluster.apply(RESTRICTED, *SCHEDULING)
        yield Server(cluster)


@pytest.fixture(scope="module", params=VERSIONS)
def kuberay(server: Server, request: pytest.FixtureRequest) -> RayJobSchema:
    """What is read from the API server once it serves this version."""
    expected = schema(request.param)._fields
    server.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(crd(request.param)))

    def served() -> RayJobSchema | None:
        answer = server.get(OPENAPI)
        found = RayJobSchema.of(answer.json()) if answer.status_code == 200 else None
        return found if found is not None and found._fields == expected else None

    found: RayJobSchema = wait_until(served, 30, lambda: "the API server does not serve the CRD's fields")
    return found


def examples() -> list[tuple[str, Job, list[Job]]]:
    """The manifests that users begin with; their relative files are put on a volume."""
    found = []
    for folder, files in itertools.groupby(plain_examples(), key=lambda file: file.parent):
        text = "\n---\n".join(file.read_text() for file in files)
        text = text.replace("file://", "pvc://experiment/")
        jobs = [KINDS[each["kind"]].model_validate(each) for each in yaml.safe_load_all(text) if each]
        found += [(f"{folder.name}-{job.kind}", job, [other for other in jobs if other is not job]) for job in jobs]
    return found


ATTEMPTS = [pytest.param(attempt_of(path, NAMESPACE), id=path.name.split(".")[0]) for path in manifests()] + [
    pytest.param(attempt(job, others, NAMESPACE), id=name) for name, job, others in examples()
]


@pytest.mark.parametrize("made", ATTEMPTS)
def test_every_object_is_strictly_valid_for_every_kuberay(
    server: Server, kuberay: RayJobSchema, made: Attempt
) -> None:
    if made.job.spec.cluster.retain_on_failure is not Retain.NONE and not kuberay.knows(
        "spec.preRunningDeadlineSeconds"
    ):
        with pytest.raises(UnsupportedKubeRay, match="retainOnFailure"):
            all_objects(made, kuberay)
        return
    for resource, body in all_objects(made, kuberay):
        answer = server.try_to_create(resource, body)
        assert answer.status_code == 201, answer.text
        if resource.kind == "RayJob":
            assert holds(answer.json()["spec"], body["spec"]), "something was dropped"


def holds(whole: Any, part: Any) -> bool:
    """Whether everything of `part` is in `whole`, which may have defaults besides."""
    if isinstance(part, dict):
        return all(key in whole and holds(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(holds, whole, part))
    return bool(whole == part)


@pytest.mark.parametrize("made", ATTEMPTS)
def test_every_pod_template_passes_pod_security_restricted(server: Server, made: Attempt) -> None:
    """Admission does not look inside custom resources: the templates are dry-run as pods."""
    server.create_pods(ray_job(made, SETTINGS))


def test_the_namespace_would_refuse_a_pod_that_is_not_hardened(server: Server) -> None:
    naked = {"metadata": {"name": "naked"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert "violates PodSecurity" in server.try_to_create(PODS, naked).text


def document(spec: dict[str, Any]) -> dict[str, Any]:
    manifest = yaml.safe_load((Path(manifests()[0].parent) / "rollout-retain.manifest.yaml").read_text())
    manifest["spec"] |= {"cluster": {}} | spec
    return manifest


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_nasty_patch_is_refused_or_explained_or_does_no_harm(server: Server, patch: Patch) -> None:
    manifest = document(patch.spec)
    job, faults = parse(manifest)
    if job is not None:
        faults = list(broken_rules(job.to_dict(), own_schema("RolloutJob")))
    answer = server.try_to_create(JOBS["RolloutJob"], manifest)
    assert bool(faults) == (answer.status_code != 201), f"offline {faults}; API server {answer.text}"
    if job is None or faults:
        assert patch.outcome == "refused", "the schema does not admit it"
        return
    explained = list(blockers(job, SETTINGS))
    if explained:
        assert patch.outcome == explained[0][0], explained
        return
    assert patch.outcome == "harmless"
    for role, pod in server.create_pods(ray_job(attempt(job, (), NAMESPACE), SETTINGS)).items():
        check_ours(role, pod)


def check_ours(role: str, pod: dict[str, Any]) -> None:
    """What must hold in a pod whatever the manifest says."""
    labels, spec = pod["metadata"]["labels"], pod["spec"]
    assert (labels["mora.dev/kind"], labels["mora.dev/name"]) == ("RolloutJob", "rollout-retain")
    assert labels["app.kubernetes.io/managed-by"] == "mora-operator"
    assert spec["automountServiceAccountToken"] is False
    assert not spec.get("hostNetwork")
    (container,) = spec["containers"]
    if role == "submitter":
        assert "volumeMounts" not in container
        return
    folders = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert len(folders) == len(container["volumeMounts"])
    assert (folders[CONFIG], folders[SCRATCH], folders[SHARED_MEMORY]) == ("mora-job", "scratch", "dshm")
    variables = [each["name"] for each in container["env"]]
    assert len(set(variables)) == len(variables)
    if role == "head":
        (token,) = [each for each in spec["volumes"] if each["name"] == folders[TOKEN]]
        assert token["projected"]["sources"][0]["serviceAccountToken"]["audience"].startswith("mora.dev/restricted/")
        told = {each["name"]: each.get("value") for each in container["env"]}
        assert told["KUBEFLOW_TRAINER_SERVER_TOKEN"] == f"{TOKEN}/token"
