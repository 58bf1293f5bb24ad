"""Attempts to render, from the manifests in tests/data/rendered, and KubeRay's schemas to render them for."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from manifest_table import ROOT

from mora_jobs.api import KINDS, Job
from mora_operator.render.objects import Attempt, config_map, render
from mora_operator.render.rayjob_schema import RayJobSchema
from mora_operator.resources import CONFIG_MAPS, JobKey, Resource
from mora_operator.settings import Settings

DATA = ROOT / "tests" / "data"
RENDERED = DATA / "rendered"
VERSIONS = ("1.5.1", "1.6.2", "1.7.0")
UID = "11111111-2222-3333-4444-555555555555"
RAYJOB_UID = "66666666-7777-8888-9999-000000000000"
SETTINGS = Settings(runtime_image="mora-runtime:1")
CA = "-----BEGIN CERTIFICATE-----\n"


def manifests() -> list[Path]:
    """Every manifest: a job, and after it those that it refers to."""
    return sorted(RENDERED.glob("*.manifest.yaml"))


def attempt_of(manifest: Path, namespace: str = "team-a", index: int = 2) -> Attempt:
    job, *references = [read(document) for document in yaml.safe_load_all(manifest.read_text())]
    return attempt(job, references, namespace, index)


def attempt(job: Job, references: Iterable[Job] = (), namespace: str = "team-a", index: int = 1) -> Attempt:
    return Attempt(JobKey(job.kind, namespace, job.metadata.name), UID, job, index, tuple(references))


def read(document: dict[str, Any]) -> Job:
    return KINDS[document["kind"]].model_validate(document)


def all_objects(attempt: Attempt, schema: RayJobSchema) -> list[tuple[Resource, dict[str, Any]]]:
    """Everything that is created for an attempt, in order; the RayJob's uid is made up."""
    return [*render(attempt, SETTINGS, schema), (CONFIG_MAPS, config_map(attempt, CA, RAYJOB_UID))]


def templates(rayjob: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pod templates of a RayJob by role."""
    cluster = rayjob["spec"]["rayClusterSpec"]
    found = {"head": cluster["headGroupSpec"]["template"], "worker": cluster["workerGroupSpecs"][0]["template"]}
    if "submitterPodTemplate" in rayjob["spec"]:
        found["submitter"] = rayjob["spec"]["submitterPodTemplate"]
    return found


def crd(version: str) -> Path:
    """KubeRay's CRD of RayJob."""
    return DATA / f"kuberay-{version}" / "rayjobs.ray.io.json"


def openapi(version: str) -> dict[str, Any]:
    """What the API server makes of it at /openapi/v3/apis/ray.io/v1, as far as it matters."""
    (served,) = json.loads(crd(version).read_text())["spec"]["versions"]
    kind = {"group": "ray.io", "version": "v1", "kind": "RayJob"}
    schema = served["schema"]["openAPIV3Schema"] | {"x-kubernetes-group-version-kind": [kind]}
    return {"components": {"schemas": {"io.k8s.Other": {"type": "object"}, "io.ray.v1.RayJob": schema}}}


@cache
def schema(version: str = "1.7.0") -> RayJobSchema:
    return RayJobSchema.of(openapi(version))
