"""The CRDs on a real API server: installed plainly, good manifests admitted, bad ones refused naming the field."""

import json
from pathlib import Path
from typing import Any

import pytest
from control_plane import ROOT, Cluster
from manifest_table import Bad, bad, documents, good_documents, minimal
from plain_examples import plain_examples
from rest import Rest, causes

from mora_jobs.api import GROUP, KINDS
from mora_jobs.api.crd import MAX_FILE_BYTES
from mora_jobs.validation import load
from mora_jobs.validation.schema_faults import schema

EXAMPLES = plain_examples()
GOOD = good_documents()


def test_plain_kubectl_apply_works_again_and_again(cluster: Cluster) -> None:
    cluster.install_crds()
    crd = json.loads(cluster.kubectl("get", "crd", f"rolloutjobs.{GROUP}", "-o", "json").stdout)
    assert "kubectl.kubernetes.io/last-applied-configuration" in crd["metadata"]["annotations"]
    conditions = {condition["type"]: condition["status"] for condition in crd["status"]["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions
    assert all(file.stat().st_size < MAX_FILE_BYTES for file in (ROOT / "crds").iterdir())


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_example_is_admitted_by_kubectl(cluster: Cluster, file: Path) -> None:
    cluster.kubectl("apply", "--dry-run=server", "-f", str(file))


def test_the_quickstarts_cluster_variant_is_admitted(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--dry-run=server", "-k", str(ROOT / "examples" / "quickstart-cluster"))


@pytest.mark.parametrize("name", GOOD)
def test_every_good_manifest_is_admitted_and_keeps_what_it_says(rest: Rest, name: str) -> None:
    response = rest.create(GOOD[name])
    assert response.status_code == 201, response.text
    stored = response.json()
    assert stored["status"] == {"observedGeneration": -1}
    job = KINDS[stored["kind"]].model_validate(stored)
    for group in ("head", "workers"):  # a quantity is a text in Python, whatever it was in the manifest
        for amounts in stored["spec"]["cluster"][group]["resources"].values():
            amounts.update({name: str(amount) for name, amount in amounts.items()})
    assert json.loads(json.dumps(job.spec.to_dict())) == stored["spec"]  # the API server's defaults are pydantic's


ENTRIES = list(bad())
CEL_MESSAGES = {
    rule["message"] for kind in KINDS for rule in schema(kind)["properties"]["spec"]["x-kubernetes-validations"]
}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_every_bad_manifest_is_refused_and_the_field_is_named(rest: Rest, entry: Bad) -> None:
    response = rest.create(entry.document, dry_run=True)
    assert response.status_code in (400, 422), response.text
    found = causes(response)
    assert entry.server in found or f'unknown field "{entry.server}"' in response.json()["message"], response.text
    if entry.says in CEL_MESSAGES:
        assert entry.says in found[entry.server]


@pytest.mark.parametrize("name", ["1st", "UPPER", "with.dots", "a" * 41, "trailing-"])
def test_kubectl_prints_the_field_of_a_bad_name(cluster: Cluster, name: str) -> None:
    document = minimal()["RolloutJob"] | {"metadata": {"name": name}}
    done = cluster.kubectl("apply", "-f", "-", stdin=json.dumps(document), check=False)
    assert done.returncode
    assert "metadata.name" in done.stderr


def test_short_names_category_and_columns(cluster: Cluster, rest: Rest) -> None:
    for kind, short in (("RolloutJob", "rlj"), ("RewriteJob", "rwj"), ("AlignmentJob", "alj")):
        document = minimal()[kind] | {"metadata": {"name": f"columns-{short}"}}
        created = rest.create(document).json()
        created["status"] = _status(kind)
        path = f"{rest.path(document)}/columns-{short}/status"
        assert rest._http.put(path, json=created).status_code == 200
    listed = cluster.kubectl("get", "mora", "-n", rest.namespace, "-o", "wide").stdout
    lines = {line.split()[0].split("/")[-1]: line.split() for line in listed.splitlines() if "columns-" in line}
    for short, own in (("rlj", "12"), ("rwj", "7"), ("alj", "0.75")):
        assert lines[f"columns-{short}"][1:6] == ["Running", "42", "2", "8", own]
        assert lines[f"columns-{short}"][7:10] == [f"columns-{short}-a2", "gpu", "working"]
    heads = [line.split() for line in listed.splitlines() if line.startswith("NAME")]
    wide = ["RAYJOB", "QUEUE", "MESSAGE"]
    for own in ("SINGLE-REWARD", "ACCEPTED", "HYPERVOLUME"):
        assert ["NAME", "PHASE", "PROGRESS", "ATTEMPT", "GPUS", own, "AGE", *wide] in heads


def _status(kind: str) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "reason": "Running", "message": "working"}
    own: dict[str, dict[str, Any]] = {
        "RolloutJob": {"isolation": {"singleReward": {"a": 5, "b": 7}, "singleRewardTotal": 12}},
        "RewriteJob": {"rewrites": {"accepted": 7}},
        "AlignmentJob": {
            "pareto": {"objectives": ["a"], "referencePoint": ["0"], "hypervolume": "0.75", "front": []},
        },
    }
    short = {"RolloutJob": "rlj", "RewriteJob": "rwj", "AlignmentJob": "alj"}[kind]
    return own[kind] | {
        "phase": "Running",
        "conditions": [ready | {"lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "progress": {"progressPercentage": 42},
        "attempts": {"current": 2},
        "gpus": 8,
        "currentAttempt": {"rayJobName": f"columns-{short}-a2"},
        "queue": {"localQueue": "gpu"},
    }


def test_explain_is_enough_to_write_a_manifest(cluster: Cluster) -> None:
    said = cluster.kubectl("explain", "rolloutjob.spec.sampling.temperature").stdout
    assert "Sampling temperature; 0 is greedy." in said
    said = cluster.kubectl("explain", "alignmentjob.spec.pairs.rule").stdout
    assert "ENUM: Dominance StageGuard PerObjective" in " ".join(said.split())
    assert "the winner is at least as good on every objective" in " ".join(said.split())


def test_yaml_is_read_as_kubectl_reads_it(cluster: Cluster, tmp_path: Path) -> None:
    scalars = (
        ["1e-4", "1E3", "1.0", ".5", "0x1F", "0b101", "010", "0o17", "08", "1_000", "1:30", "2024-01-01", "yes", "off", "y", "True", "~", "'1'", "!!str 1", "1.2.3", "0.1.2", "e5", "_1", "+3", "1e400", "0x", "-", "--1", ".5.5"]
    )  # fmt: skip
    items = "".join(f"\n          - {scalar}" for scalar in scalars if scalar != "-")
    text = f"""
apiVersion: mora.dev/v1alpha1
kind: RolloutJob
metadata: {{name: scalars, namespace: default}}
spec:
  model: {{uri: hf://a/b}}
  prompts: {{uri: file://p}}
  rewards: [{{name: a, http: {{url: "http://a"}}}}]
  output: {{uri: file://o}}
  cluster:
    head:
      pod:
        volumes:
        - name: a
          ephemeral:
            volumeClaimTemplate:{items.replace("          - ", "              - ")}
"""
    file = tmp_path / "scalars.yaml"
    file.write_text(text)
    sent = cluster.kubectl("create", "--dry-run=server", "-o", "json", "-f", str(file)).stdout
    theirs = json.loads(sent)["spec"]["cluster"]["head"]["pod"]["volumes"][0]["ephemeral"]["volumeClaimTemplate"]
    ours = documents(file)[0]["spec"]["cluster"]["head"]["pod"]["volumes"][0]["ephemeral"]["volumeClaimTemplate"]
    assert list(zip(scalars, ours, strict=False)) == list(zip(scalars, theirs, strict=False))
    assert load([file])[0].faults == ()
