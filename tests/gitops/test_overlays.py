"""What Kustomize makes of examples/gitops: valid manifests, names that follow, and names that tell the content."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import EXAMPLES, OVERLAY, Checkout
from control_plane import ROOT, Cluster

from mora_jobs import validation
from mora_jobs.api import GROUP, KINDS

OVERLAYS = ("dev", "prod")
KUBERNETES_NAMES = {
    "configMapRef": "ConfigMap", "configMapKeyRef": "ConfigMap", "codeConfigMapRef": "ConfigMap", "configMap": "ConfigMap",
    "secretRef": "Secret", "secretKeyRef": "Secret", "nodePublishSecretRef": "Secret", "imagePullSecrets": "Secret",
    "rolloutJobRef": "RolloutJob", "rewriteJobRef": "RewriteJob",
}  # fmt: skip
PLAIN_NAMES = {"secretName": "Secret", "claimName": "PersistentVolumeClaim", "serviceAccountName": "ServiceAccount"}


def names(documents: list[dict[str, Any]]) -> dict[str, str]:
    return {document["kind"]: document["metadata"]["name"] for document in documents}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_are_valid_here_and_on_the_api_server(
    cluster: Cluster, checkout: Checkout, overlay: str, tmp_path: Path
) -> None:
    documents = checkout.render(f"overlays/{overlay}")
    assert sorted(document["kind"] for document in documents) == sorted([*KINDS, "ConfigMap"])
    file = tmp_path / "rendered.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    assert validation.check(validation.load([file]), "cluster") == []
    namespace = documents[0]["metadata"]["namespace"]
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(file))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_that_are_made_are_followed_into_the_jobs(checkout: Checkout, overlay: str) -> None:
    documents = {document["kind"]: document for document in checkout.render(f"overlays/{overlay}")}
    made = names(list(documents.values()))
    specs = {kind: document["spec"] for kind, document in documents.items() if kind in KINDS}
    assert {each["python"]["codeConfigMapRef"]["name"] for each in specs["RolloutJob"]["rewards"]} == {
        made["ConfigMap"]
    }
    assert made["ConfigMap"].startswith("rewards-")
    assert specs["RewriteJob"]["source"]["rolloutJobRef"]["name"] == made["RolloutJob"]
    assert specs["AlignmentJob"]["data"]["rewriteJobRef"]["name"] == made["RewriteJob"]
    folder = f"pvc://experiments/runs/{made['RolloutJob']}"
    assert [specs[kind]["output"]["uri"] for kind in KINDS] == [
        f"{folder}/{name}" for name in ("rollout", "rewrite", "align")
    ]


def named_fields(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Fields of a spec that name another object: its kind, and the path as Kustomize writes it."""
    for name, child in node.get("properties", {}).items():
        inner, here = child.get("items", child), (*path, name)
        if name in PLAIN_NAMES:
            yield PLAIN_NAMES[name], "/".join(here)
        elif name in KUBERNETES_NAMES:
            yield KUBERNETES_NAMES[name], "/".join((*here, "name"))
        else:
            assert not (name.endswith("Ref") and "name" in inner.get("properties", {})), f"{here}: which kind is it?"
            yield from named_fields(inner, here)
            yield from named_fields(inner.get("additionalProperties") or {}, here)


def test_every_field_that_names_an_object_is_known_to_kustomize() -> None:
    said = yaml.safe_load((EXAMPLES / "base" / "mora-names.yaml").read_text())["nameReference"]
    known = {(each["kind"], field["path"]) for each in said for field in each["fieldSpecs"]}
    assert {field["group"] for each in said for field in each["fieldSpecs"]} == {GROUP}
    fields: set[tuple[str, str]] = set()
    for file in (ROOT / "crds").glob("*.yaml"):
        schema = yaml.safe_load(file.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        fields |= set(named_fields(schema["properties"]["spec"], ("spec",)))
    volumes = {(kind, path) for kind, path in fields if path.endswith("volumes/secret/secretName")}
    assert volumes, "the walk came as far as the pods"
    assert known == fields


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_are_named_by_their_content(checkout: Checkout, overlay: str) -> None:
    done = checkout.name("--check", path=f"overlays/{overlay}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("base/experiment.yaml", "seed: 17", "seed: 18"),
        ("base/rewards.py", "SHORT_WORDS = 40", "SHORT_WORDS = 50"),
        (f"{OVERLAY}/kustomization.yaml", "value: 16", "value: 32"),
    ],
)
def test_a_changed_experiment_has_new_names(checkout: Checkout, file: str, old: str, new: str) -> None:
    before = names(checkout.render())
    checkout.replace(file, old, new)
    refused = checkout.name("--check")
    assert refused.returncode == 1
    assert "run examples/gitops/name" in refused.stderr
    assert checkout.name().returncode == 0
    after = names(checkout.render())
    assert not set(before.values()) & set(after.values())
    assert checkout.name("--check").returncode == 0
    checkout.replace(file, new, old)
    assert checkout.name().returncode == 0
    assert names(checkout.render()) == before, "the same content has the same name"


def test_what_may_change_in_a_job_does_not_change_its_name(checkout: Checkout) -> None:
    before = names(checkout.render())
    patch = "\n".join(
        f"- {{op: add, path: /spec/{field}, value: {value}}}"
        for field, value in (("suspend", "true"), ("ttlSecondsAfterFinished", 60), ("activeDeadlineSeconds", 3600))
    )
    checkout.replace(f"{OVERLAY}/kustomization.yaml", "- path: pods.yaml", f"- target: {{group: mora.dev}}\n  patch: |-\n    {patch.replace(chr(10), chr(10) + '    ')}\n- path: pods.yaml")  # fmt: skip
    assert all(document["spec"]["suspend"] for document in checkout.render() if document["kind"] in KINDS)
    assert checkout.name("--check").returncode == 0
    assert names(checkout.render()) == before


def test_name_without_an_overlay_says_what_is_missing(checkout: Checkout) -> None:
    done = checkout.name(path="overlays/absent")
    assert done.returncode != 0
    assert "overlays/absent" in done.stderr


def test_rewards_of_the_example_can_be_called() -> None:
    code: dict[str, Any] = {}
    exec((EXAMPLES / "base" / "rewards.py").read_text(), code)
    prompts, responses = ["What makes bread rise?", "Why?"], ["Yeast makes bread dough rise.", "word " * 80]
    assert code["on_topic"](prompts, responses) == [0.75, None]
    assert code["concise"](prompts, responses) == [1.0, 0.5]
