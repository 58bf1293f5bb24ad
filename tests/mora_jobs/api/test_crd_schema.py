"""The generated CRDs: structural, bounded, small, with every default, and the same as the committed files."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from manifest_table import ROOT, good_documents, minimal

from mora_jobs.api import KINDS
from mora_jobs.api.__main__ import generated
from mora_jobs.api.base import Model, Rule
from mora_jobs.api.crd import MAX_FILE_BYTES, crd, crd_yaml, root_schema
from mora_jobs.api.immutability import MUTABLE
from mora_jobs.api.schema import structural

ROOTS = {kind: root_schema(kind) for kind in KINDS}
SAME_MODELS = {("AlignmentJob", "evaluation"), ("AlignmentJob", "onlinePrompts")}
FORBIDDEN = (
    "$ref",
    "$defs",
    "const",
    "oneOf",
    "anyOf",
    "allOf",
    "not",
    "uniqueItems",
    "patternProperties",
    "propertyNames",
)
# Kubernetes 1.31; .filter and its kin are macros.
FUNCTIONS = frozenset(["has", "size", "all", "exists", "exists_one", "filter", "map", "sum", "matches", "isCIDR"])


def nodes(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in node:
            yield from nodes(node[inner], f"{path}[]")


NODES = [(f"{kind}{path}", node) for kind, root in ROOTS.items() for path, node in nodes(root, "")]


def test_every_node_is_structural() -> None:
    for path, node in NODES:
        assert not [word for word in FORBIDDEN if word in node], path
        open_value = node.get("x-kubernetes-preserve-unknown-fields") or node.get("x-kubernetes-int-or-string")
        assert ("type" in node) != bool(open_value), path
        assert node.get("type") in (None, "object", "array", "string", "integer", "number", "boolean"), path
        assert node.get("additionalProperties") is not False, path
        assert not ("properties" in node and "additionalProperties" in node), path
        for bound in ("exclusiveMinimum", "exclusiveMaximum"):
            assert node.get(bound) in (None, True), path
        assert node.get("default", "given") is not None, path


def test_every_list_map_and_text_is_bounded() -> None:
    for path, node in NODES:
        if path.endswith((".apiVersion", ".kind", ".metadata.name")):
            continue
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path
        if node.get("type") == "string" and "enum" not in node and node.get("format") != "date-time":
            assert "maxLength" in node, path
        if ".spec." in path and node.get("type") in ("integer", "number") and not path.endswith("tolerationSeconds"):
            assert "minimum" in node, path
            assert "maximum" in node, path


def test_lists_of_named_things_are_maps() -> None:
    for path, node in NODES:
        for key in node.get("x-kubernetes-list-map-keys", ()):
            assert key in node["items"]["required"], path
        members = node.get("items", {}).get("properties", {})
        if "name" in members and not path.endswith((".volumeMounts", ".imagePullSecrets")):
            assert node["x-kubernetes-list-map-keys"] == ["name"], path


def test_every_field_is_described() -> None:
    for path, node in NODES:
        if not path.endswith(("[]", ".metadata", ".metadata.name")):
            assert len(node.get("description", "")) > 2, path


def test_enums_are_pascal_case() -> None:
    for path, node in NODES:
        for choice in node.get("enum", ()):
            assert choice == "" or choice[0].isupper(), (path, choice)


def test_rules_name_a_field_and_use_only_known_functions() -> None:
    import re

    for path, node in NODES:
        for rule in node.get("x-kubernetes-validations", ()):
            assert rule["reason"] in ("FieldValueInvalid", "FieldValueForbidden"), path
            called = set(re.findall(r"([A-Za-z_]+)\(", re.sub(r"'[^']*'", "", rule["rule"])))
            assert called <= FUNCTIONS, (path, called - FUNCTIONS)


def test_every_member_of_a_spec_is_frozen_or_mutable() -> None:
    for kind, root in ROOTS.items():
        spec = root["properties"]["spec"]
        frozen = {
            rule["fieldPath"][1:] for rule in spec["x-kubernetes-validations"] if "is immutable" in rule["message"]
        }
        assert frozen == set(spec["properties"]) - MUTABLE, kind


def test_only_the_status_as_a_whole_has_a_default() -> None:
    for kind, root in ROOTS.items():
        status = root["properties"]["status"]
        assert status["default"] == {"observedGeneration": -1}
        assert [path for path, node in nodes(status, kind) if "default" in node] == [kind]


def test_short_names_columns_and_size() -> None:
    for kind, short in (("RolloutJob", "rlj"), ("RewriteJob", "rwj"), ("AlignmentJob", "alj")):
        made = crd(kind)
        names = made["spec"]["names"]
        assert (names["shortNames"], names["categories"]) == ([short], ["mora"])
        columns = made["spec"]["versions"][0]["additionalPrinterColumns"]
        assert [column["name"] for column in columns if column.get("priority")] == ["RayJob", "Queue", "Message"]
        assert made["spec"]["versions"][0]["subresources"] == {"status": {}}
        assert len(crd_yaml(kind).encode()) < MAX_FILE_BYTES


@pytest.mark.parametrize("kind", KINDS)
def test_every_default_survives(kind: str) -> None:
    """What the API server would fill into the minimal manifest is what pydantic fills in."""
    document = minimal()[kind]
    filled = fill(document["spec"], ROOTS[kind]["properties"]["spec"])
    job = KINDS[kind].model_validate(document)
    assert json.loads(json.dumps(job.spec.to_dict())) == filled


def fill(value: Any, node: dict[str, Any]) -> Any:
    """Kubernetes' defaulting: a member that is absent takes its default, and is then looked into."""
    if isinstance(value, dict):
        members = node.get("properties", {})
        given = {**{name: child["default"] for name, child in members.items() if "default" in child}, **value}
        return {
            name: fill(item, members.get(name, node.get("additionalProperties", {}))) for name, item in given.items()
        }
    if isinstance(value, list):
        return [fill(item, node.get("items", {})) for item in value]
    return value


def test_good_manifests_cover_every_field_of_every_spec() -> None:
    covered = set()

    def visit(value: Any, node: dict[str, Any], path: str) -> None:
        covered.add(path)
        if isinstance(value, dict):
            for key, item in value.items():
                inner = node.get("properties", {}).get(key)
                visit(item, inner or node.get("additionalProperties", {}), f"{path}.{key}" if inner else f"{path}[]")
        elif isinstance(value, list):
            for item in value:
                visit(item, node.get("items", {}), f"{path}[]")

    for document in good_documents().values():
        spec = ROOTS[document["kind"]]["properties"]["spec"]
        visit(document["spec"], spec, document["kind"])
    common = set(ROOTS["RewriteJob"]["properties"]["spec"]["properties"]) & set(
        ROOTS["RolloutJob"]["properties"]["spec"]["properties"]
    )
    for kind, root in ROOTS.items():
        for name, child in root["properties"]["spec"]["properties"].items():
            if (kind != "RolloutJob" and name in common) or (kind, name) in SAME_MODELS:
                continue  # the same models as in RolloutJob
            for path, _ in nodes(child, f"{kind}.{name}"):
                inherited = any(
                    part in path
                    for part in (".engine", ".sampling", ".model", ".referenceModel", ".openAICompatible", "judge")
                )
                assert path in covered or (kind != "RolloutJob" and inherited), path


@pytest.mark.parametrize("folder", ["crds", "charts/mora-operator/files/crds"])
def test_the_committed_files_are_those_that_make_generate_writes(folder: str) -> None:
    for path, text in generated(ROOT / folder, ROOT / "docs").items():
        assert path.read_text() == text, f"{path.name} is old: run `make generate`"


def test_what_kubernetes_cannot_express_is_an_error() -> None:
    class Either(Model):
        value: int | str

    class Patterns(Model):
        value: tuple[int, str]

    for model in (Either, Patterns):
        with pytest.raises(ValueError, match=r"not structural"):
            structural(model)


def test_a_rule_without_a_field_points_at_the_object() -> None:
    class Pair(Model):
        cel = (Rule("true", "never"),)
        left: int = 0

    assert structural(Pair)["x-kubernetes-validations"] == [
        {"rule": "true", "message": "never", "reason": "FieldValueInvalid"}
    ]
