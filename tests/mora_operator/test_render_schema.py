"""RayJobSchema: the RayJob that each supported KubeRay gets."""

import sys
from pathlib import Path
from typing import Any

import pytest
from attempts import SETTINGS, VERSIONS, attempt, attempt_of, manifests, openapi, schema
from builders import rollout_job

from mora_operator.render.objects import ray_job, render
from mora_operator.render.rayjob_schema import RayJobSchema, UnsupportedKubeRay


def lacking(field: str, version: str = "1.7.0") -> RayJobSchema:
    """The schema of a KubeRay that has not yet a field."""
    document = openapi(version)
    *folders, name = field.split(".")
    node = document["components"]["schemas"]["io.ray.v1.RayJob"]
    for folder in folders:
        node = node["properties"][folder]
        node = node.get("items", node)
    del node["properties"][name]
    return RayJobSchema.of(document)


@pytest.mark.parametrize(
    ("field", "since"),
    [
        ("spec.entrypoint", "1.5.1"),
        ("spec.rayClusterSpec.authOptions.mode", "1.5.1"),
        ("spec.rayClusterSpec.workerGroupSpecs.numOfHosts", "1.5.1"),
        ("spec.preRunningDeadlineSeconds", "1.6.2"),
        ("spec.deletionStrategy.deletionRules.condition.jobDeploymentStatus", "1.6.2"),
        ("spec.rayClusterSpec.tlsOptions", "1.7.0"),
        ("spec.rayClusterSpec.workerGroupSpecs.priority", "1.7.0"),
        ("spec.rayClusterSpec.headGroupSpec.template.spec", "never"),
        ("spec.nonsense", "never"),
    ],
)
def test_what_each_version_knows(field: str, since: str) -> None:
    known = [version for version in VERSIONS if schema(version).knows(field)]
    assert known == [version for version in VERSIONS if since != "never" and version >= since]


@pytest.mark.parametrize("manifest", manifests(), ids=lambda path: path.name.split(".")[0])
@pytest.mark.parametrize("version", ["1.6.2", "1.7.0"])
def test_nothing_is_lost_from_1_6_on(version: str, manifest: Path) -> None:
    made = ray_job(attempt_of(manifest), SETTINGS)
    assert schema(version).fit(made) == made


def test_an_optional_field_is_left_out_where_it_is_unknown() -> None:
    job = attempt(rollout_job(preRunningDeadlineSeconds=60))
    made = {resource.kind: body for resource, body in render(job, SETTINGS, schema("1.5.1"))}["RayJob"]
    whole = ray_job(job, SETTINGS)
    assert whole["spec"].pop("preRunningDeadlineSeconds") == 60
    assert made == whole


UPDATE = "install KubeRay {} or newer with its CRDs (`helm upgrade` leaves CRDs as they are)"


@pytest.mark.parametrize(
    ("field", "cluster", "message"),
    [
        ("spec.rayClusterSpec.authOptions", {}, f"{UPDATE.format('1.5.1')}, or set spec.cluster.auth.mode: Disabled"),
        ("spec.submitterConfig", {}, f"{UPDATE.format('1.2')}, or set spec.cluster.submissionMode: HTTPMode"),
        (
            "spec.rayClusterSpec.workerGroupSpecs.numOfHosts",
            {},
            f"{UPDATE.format('1.1')}, or set pipelineParallelSize: 1",
        ),
        ("spec.rayClusterSpec.rayVersion", {}, UPDATE.format("1.5.1")),
        (
            "spec.deletionStrategy.deletionRules.condition.jobDeploymentStatus",
            {"retainOnFailure": "Head"},
            f"{UPDATE.format('1.6')}, or set spec.cluster.retainOnFailure: None",
        ),
    ],
)
def test_a_field_that_a_job_needs_is_asked_for(field: str, cluster: dict[str, Any], message: str) -> None:
    job = attempt(rollout_job(cluster=cluster))
    with pytest.raises(UnsupportedKubeRay) as caught:
        render(job, SETTINGS, lacking(field))
    assert str(caught.value) == f"the installed KubeRay does not know RayJob field {field}: {message}"


def test_kuberay_1_5_keeps_no_cluster_after_a_failure() -> None:
    """It has deletionRules, but behind a feature gate that is off: KubeRay would refuse the RayJob for good."""
    job = attempt(rollout_job(cluster={"retainOnFailure": "All"}))
    with pytest.raises(UnsupportedKubeRay, match=r"install KubeRay 1\.6 or newer"):
        render(job, SETTINGS, schema("1.5.1"))


@pytest.mark.parametrize("document", [{}, {"components": {"schemas": {"io.k8s.Other": {"type": "object"}}}}])
def test_there_must_be_a_rayjob(document: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedKubeRay) as caught:
        RayJobSchema.of(document)
    assert str(caught.value) == "there is no RayJob in ray.io/v1: install KubeRay 1.5.1 or newer"


def test_little_is_kept_in_memory() -> None:
    fields = schema("1.7.0")._fields
    assert sys.getsizeof(fields) + sum(map(sys.getsizeof, fields)) < 150_000
