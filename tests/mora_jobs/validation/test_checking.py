"""What needs other documents or labels: each fault with its reason, its field and its words."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from manifest_table import minimal, parts, put

from mora_jobs.errors import UserError
from mora_jobs.validation import check, load, resolve

TOOL = {"name": "beside", "http": {"url": "http://a"}}
PREFERENCES = {"spec.data": {"preferences": {"uri": "file://p"}}, "spec.pairs": {"rule": "Dataset"}}
EVALUATION = {"prompts": {"uri": "file://h"}, "rewards": [TOOL]}
QUEUE = {"kueue.x-k8s.io/queue-name": "gpu"}


def write(folder: Path, changes: dict[str, dict[str, Any]]) -> Path:
    """The minimal experiment with changed fields by kind."""
    documents = minimal()
    for kind, fields in changes.items():
        for path, value in fields.items():
            put(documents[kind], parts(path), value)
    file = folder / "experiment.yaml"
    file.write_text("\n---\n".join(json.dumps(document) for document in documents.values()))
    return file


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        (
            {"AlignmentJob": {"spec.objectives[0].name": "helpfull"}},
            "UnknownReward",
            "AlignmentJob/align: spec.objectives[0].name: there is no reward helpfull; did you mean helpful?; RolloutJob rollout has harmless, helpful",
        ),
        (
            {"RewriteJob": {"spec.intents": [{"dimension": "funny", "definition": "d"}]}},
            "UnknownReward",
            "RewriteJob/rewrite: spec.intents[0].dimension: there is no reward funny; RolloutJob rollout has harmless, helpful",
        ),
        (
            {"RewriteJob": {"spec.rewriter.templates[0].dimension": "Helpful"}},
            "UnknownReward",
            "RewriteJob/rewrite: spec.rewriter.templates[0].dimension: there is no reward Helpful; did you mean helpful?; RolloutJob rollout has harmless, helpful",
        ),
        (
            {"AlignmentJob": {**PREFERENCES, "spec.evaluation": EVALUATION, "spec.objectives": [{"name": "other"}]}},
            "UnknownReward",
            "AlignmentJob/align: spec.objectives[0].name: there is no reward other; spec.evaluation.rewards has beside",
        ),
        (
            {"AlignmentJob": {"spec.evaluation": EVALUATION | {"rewards": [TOOL | {"name": "helpful"}]}}},
            "DuplicateReward",
            "AlignmentJob/align: spec.evaluation.rewards[0].name: RolloutJob rollout has a reward of this name already, which is evaluated in any case",
        ),
        (
            {"RewriteJob": {"spec.source.rolloutJobRef.name": "rolout"}},
            "ReferenceNotFound",
            "RewriteJob/rewrite: spec.source.rolloutJobRef.name: there is no RolloutJob rolout; did you mean rollout?",
        ),
        (
            {"AlignmentJob": {"spec.evaluation": {"prompts": {"rewriteJobRef": {"name": "x"}}}}},
            "ReferenceNotFound",
            "AlignmentJob/align: spec.evaluation.prompts.rewriteJobRef.name: there is no RewriteJob x",
        ),
        (
            {"RolloutJob": {"spec.prompts": {"rolloutJobRef": {"name": "rollout"}}}},
            "ReferenceCycle",
            "RolloutJob/rollout: spec.prompts.rolloutJobRef: the jobs wait for each other: RolloutJob/rollout → RolloutJob/rollout",
        ),
        (
            {"RolloutJob": {"metadata.labels": {**QUEUE, "volcano.sh/queue-name": "q"}}},
            "QueueConflict",
            "RolloutJob/rollout: metadata.labels: labels of kueue.x-k8s.io and volcano.sh: only one of them can queue the job",
        ),
        (
            {"AlignmentJob": {"metadata.labels": QUEUE, "spec.cluster": {"retainOnFailure": "All"}}},
            "QueueConflict",
            "AlignmentJob/align: spec.cluster.retainOnFailure: a job in a Kueue queue cannot keep its cluster after a failure",
        ),
        (
            {"RolloutJob": {"metadata.labels": QUEUE, "spec.autoscaling": {"maxReplicas": 2}}},
            "QueueConflict",
            'RolloutJob/rollout: spec.autoscaling: in a Kueue queue it needs the annotation kueue.x-k8s.io/elastic-job: "true"',
        ),
        (
            {"AlignmentJob": {"spec.output.uri": "file://./runs/rewrite/"}},
            "SharedOutput",
            "AlignmentJob/align: spec.output.uri: RewriteJob/rewrite writes to file://runs/rewrite; each job needs a folder of its own",
        ),
        (
            {"AlignmentJob": {"spec.output.uri": "file://runs/rewrite/inside"}},
            "SharedOutput",
            "AlignmentJob/align: spec.output.uri: RewriteJob/rewrite writes to file://runs/rewrite; each job needs a folder of its own",
        ),
    ],
)
def test_a_fault_among_documents(changes: dict[str, dict[str, Any]], reason: str, says: str, tmp_path: Path) -> None:
    file = write(tmp_path, changes)
    found = {(fault.reason, str(fault)) for fault in check(load([file]))}
    assert (reason, f"{file}: {says}") in found
    assert {each for each, _ in found} == {reason}


def test_a_cycle_over_two_jobs_is_reported_by_both(tmp_path: Path) -> None:
    changes = {"RolloutJob": {"spec.prompts": {"rewriteJobRef": {"name": "rewrite"}}}}
    faults = check(load([write(tmp_path, changes)]))
    assert {(fault.kind, fault.path, fault.reason) for fault in faults} == {
        ("RolloutJob", "spec.prompts.rewriteJobRef", "ReferenceCycle"),
        ("RewriteJob", "spec.source.rolloutJobRef", "ReferenceCycle"),
    }


def test_two_objects_of_one_name(tmp_path: Path) -> None:
    file = write(tmp_path, {})
    other = tmp_path / "other.yaml"
    other.write_text(json.dumps(minimal()["RolloutJob"]))
    faults = check(load([file, other]))
    assert [str(fault) for fault in faults] == [
        f"{other}: RolloutJob/rollout: metadata.name: there is another RolloutJob of this name"
    ]


def test_relative_uris_are_for_one_machine_only(tmp_path: Path) -> None:
    loaded = load([write(tmp_path, {"RolloutJob": {"spec.model.uri": "file://models/m"}})])
    assert check(loaded) == []
    paths = {(fault.kind, fault.path, fault.reason) for fault in check(loaded, "cluster")}
    assert paths == {
        ("RolloutJob", "spec.model.uri", "RelativeURI"),
        ("RolloutJob", "spec.prompts.uri", "RelativeURI"),
        ("RolloutJob", "spec.output.uri", "RelativeURI"),
        ("RewriteJob", "spec.output.uri", "RelativeURI"),
        ("AlignmentJob", "spec.output.uri", "RelativeURI"),
    }


def test_a_reference_to_a_faulty_document_is_not_a_second_fault(tmp_path: Path) -> None:
    faults = check(load([write(tmp_path, {"RolloutJob": {"spec.sampling": {"topK": -1}}})]))
    assert [fault.path for fault in faults] == ["spec.sampling.topK"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: RolloutJob\n", "line 1: a document needs apiVersion and kind"),
        ("- 1\n", "line 1: a document needs apiVersion and kind"),
        ("apiVersion: mora.dev/v1\nkind: RolloutJob\nmetadata: {name: a}\n", "RolloutJob/a: apiVersion: must be mora.dev/v1alpha1, not mora.dev/v1"),
        ("apiVersion: mora.dev/v1alpha1\nkind: Rolloutjob\n", "line 2: kind: there is no kind Rolloutjob; did you mean RolloutJob?"),
        ("apiVersion: mora.dev/v1alpha1\nkind: RolloutJob\nspec: {\n", "line 4: not YAML: did not find expected node content while parsing a flow node"),
        ("spec: {}\nspec: {}\n", "line 2: spec: spec is given twice, first in line 1"),
    ],
)  # fmt: skip
def test_a_broken_document(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    assert [str(fault) for fault in check(load([file]))] == [f"{file}: {says}"]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"a: 1\nb: \xe9\n")
    assert [str(fault) for fault in check(load([file]))] == [f"{file}: line 2: not UTF-8"]


def test_other_kinds_are_left_to_kubectl_and_lists_are_opened(tmp_path: Path) -> None:
    items = [{"apiVersion": "v1", "kind": "ConfigMap"}, *minimal().values()]
    (tmp_path / "list.yml").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    (tmp_path / "notes.txt").write_text("not a manifest")
    assert [type(each.job).__name__ for each in load([tmp_path])] == ["RolloutJob", "RewriteJob", "AlignmentJob"]


def test_nothing_to_load_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load([tmp_path / "absent.yaml"])
    with pytest.raises(UserError, match=r"no document of mora\.dev"):
        load([tmp_path])


def test_the_line_of_a_fault_is_known(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        "apiVersion: mora.dev/v1alpha1\nkind: RewriteJob\nmetadata:\n  name: a\nspec:\n  control: no-such\n"
    )
    assert [fault.line for fault in load([file])[0].faults if fault.path == "spec.control"] == [6]


def test_resolving(tmp_path: Path) -> None:
    experiment, workdir = tmp_path / "my experiment", tmp_path / "work"
    experiment.mkdir()
    changes = {
        "RolloutJob": {
            "spec.sampling": {"maxTokens": 7},
            "spec.model.uri": "file://../model",
            "spec.credentials": [{"name": "key", "secretRef": {"name": "s", "key": "k"}}],
        }
    }
    loaded = load([write(experiment, changes)])
    before = copy.deepcopy([each.doc for each in loaded])
    resolved = resolve(loaded[2], loaded, workdir)
    rollout = resolved.rollout_job("rollout")
    assert [job.metadata.name for job in resolved.references] == ["rollout", "rewrite"]
    assert rollout.spec.prompts.uri == f"file://{experiment}/prompts.jsonl"
    assert rollout.spec.model.uri == f"file://{tmp_path}/model"
    assert rollout.spec.output.uri == f"file://{workdir}/runs/rollout"
    assert resolved.job.spec.output.uri == f"file://{workdir}/runs/align"
    assert resolved.job.spec.generation.sampling.max_tokens == 7
    assert [credential.name for credential in resolved.job.spec.credentials] == ["key"]
    assert resolved.import_paths == [str(experiment)]
    assert type(resolved).load(resolved.dump()) == resolved
    assert [each.doc for each in loaded] == before
