"""What is not mutable is refused on update in four ways: changed, added, removed, renamed in an open subtree or a map."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from manifest_table import good_documents, minimal, put, remove
from rest import Rest, causes

from mora_jobs.api import KINDS
from mora_jobs.api.immutability import ADVICE, MUTABLE
from mora_jobs.validation.schema_faults import parse, schema

Path = list[str | int]


def nodes(value: Any, node: dict[str, Any], path: Path) -> Iterator[tuple[Path, Any, dict[str, Any], bool]]:
    """Every value below spec: path, value, schema, and whether it can be taken away."""
    if isinstance(value, dict):
        for key, item in value.items():
            child = node.get("properties", {}).get(key, node.get("additionalProperties", {}))
            yield [*path, key], item, child, key not in node.get("required", ())
            yield from nodes(item, child, [*path, key])
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield [*path, index], item, node.get("items", {}), True
            yield from nodes(item, node.get("items", {}), [*path, index])


def spec_nodes(document: dict[str, Any]) -> list[tuple[Path, Any, dict[str, Any], bool]]:
    spec = schema(document["kind"])["properties"]["spec"]
    return [each for each in nodes(document["spec"], spec, ["spec"]) if each[0][1] not in MUTABLE]


def other_value(value: Any, node: dict[str, Any]) -> Iterator[Any]:
    """Values that may take the place of this one, likely ones first."""
    if "enum" in node:
        yield from (choice for choice in node["enum"] if choice != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (other for other in (value + 1, value - 1, value / 2, value + 0.25) if other != value)
    elif isinstance(value, str):
        yield from (f"{value}x", f"{value}1", f"1{value}", value.replace("container_t", "container_kvm_t"))


def refused(rest: Rest, document: dict[str, Any], path: Path) -> None:
    """The update fails, and the error names the field, or the frozen one around it where that is compared as a whole."""
    response = rest.replace(document, dry_run=True)
    assert response.status_code == 422, f"{path} was admitted: {response.text[:300]}"
    dotted = ".".join(str(part) for part in path) + "."
    said = [line.split() for lines in causes(response).values() for line in lines.splitlines() if ADVICE in line]
    named = [f"{words[1]}." for words in said]
    assert any(dotted.startswith(name) or name.startswith(dotted) for name in named), f"{path}: {response.text[:600]}"


def valid(document: dict[str, Any]) -> bool:
    """Whether the schema admits it, so that the transition rules are tried at all."""
    return parse({**document, "metadata": {"name": document["metadata"]["name"]}})[0] is not None


def fields(documents: dict[str, dict[str, Any]], kind: str) -> Iterator[tuple[dict[str, Any], Path, Any, Any, bool]]:
    """Every field of a kind once: the document it stands in, path, value, schema, whether it can be taken away.

    Entries of a list count once, and a map without keys says nothing of one that has some. Below five levels, fields of one name in one part of the spec are of one type, too.
    """
    seen = set()
    for name, document in documents.items():
        for path, value, node, optional in spec_nodes(document) if name.startswith(f"{kind}/") else ():
            names = [part for part in path if not isinstance(part, int)]
            same = (*path[:2], *names[-2:]) if len(names) > 5 else tuple(names)
            if value != {} and (same, isinstance(path[-1], int)) not in seen:
                seen.add((same, isinstance(path[-1], int)))
                yield document, path, value, node, optional


@pytest.fixture(scope="module")
def stored(rest: Rest) -> dict[str, dict[str, Any]]:
    """The full and the minimal documents as the API server keeps them, with defaults."""
    created = {}
    for name, document in good_documents().items():
        response = rest.create(document)
        assert response.status_code == 201, response.text
        created[name] = response.json()
    return created


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_field_is_refused(rest: Rest, stored: dict[str, dict[str, Any]], kind: str) -> None:
    tried = 0
    for base, path, value, node, _ in fields(stored, kind):
        for choice in other_value(value, node):
            document = copy.deepcopy(base)
            put(document, path, choice)
            if valid(document):
                refused(rest, document, path)
                tried += 1
                break
        else:
            fixed = isinstance(value, dict | list) or len(node.get("enum", ())) == 1
            assert fixed, f"no other value was found for {path}"
    assert tried > 60


@pytest.mark.parametrize("kind", KINDS)
def test_a_removed_field_is_refused(rest: Rest, stored: dict[str, dict[str, Any]], kind: str) -> None:
    tried = 0
    for base, path, value, node, optional in fields(stored, kind):
        if not optional or any(isinstance(part, int) for part in path[:-1]):
            continue  # lists are compared as a whole, which the changed fields inside them show
        document = copy.deepcopy(base)
        remove(document, path)
        if valid(document) and not _is_default(value, node):
            refused(rest, document, path)
            tried += 1
    assert tried > 25


@pytest.mark.parametrize("kind", KINDS)
def test_an_added_field_is_refused(rest: Rest, stored: dict[str, dict[str, Any]], kind: str) -> None:
    base = stored[f"{kind}/{minimal()[kind]['metadata']['name']}"]
    present = {tuple(path) for path, *_ in spec_nodes(base)}
    tried = 0
    for _, path, value, node, _ in fields(good_documents(), kind):
        if tuple(path) in present or _is_default(value, node):
            continue
        document = copy.deepcopy(base)
        try:
            put(document, path, value)
        except (KeyError, IndexError, TypeError):
            continue  # an entry of a list that the minimal document does not have
        if valid(document):
            refused(rest, document, path)
            tried += 1
    assert tried > 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_renamed_key_is_refused(rest: Rest, stored: dict[str, dict[str, Any]], kind: str) -> None:
    """In maps, and at every level of an open subtree, where the API server's `==` alone would miss it."""
    tried = set()
    for base, path, value, node, _ in fields(stored, kind):
        if not isinstance(value, dict) or "properties" in node:
            continue
        for key in value:
            document = copy.deepcopy(base)
            put(document, path, {f"{each}2" if each == key else each: item for each, item in value.items()})
            if valid(document):
                refused(rest, document, path)
                tried.add(key)
    if kind == "RolloutJob":
        assert tried >= {"storageClassName", "topologyKey", "max_num_seqs", "stage", "cpu", "k", "spec"}


def test_what_is_mutable_may_change(rest: Rest, stored: dict[str, dict[str, Any]]) -> None:
    document = copy.deepcopy(stored["RolloutJob/full-rollout"])
    spec = document["spec"]
    for change in ({"suspend": False}, {"ttlSecondsAfterFinished": 1}, {"activeDeadlineSeconds": 86401}):
        spec.update(change)
        assert rest.replace(document, dry_run=True).status_code == 200
    del spec["ttlSecondsAfterFinished"], spec["suspend"]
    document["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "other"
    assert rest.replace(document, dry_run=True).status_code == 200


@pytest.mark.parametrize("change", [{"activeDeadlineSeconds": 86399}, {"activeDeadlineSeconds": None}])
def test_the_deadline_may_only_grow(rest: Rest, stored: dict[str, dict[str, Any]], change: dict[str, Any]) -> None:
    document = copy.deepcopy(stored["RolloutJob/full-rollout"])
    document["spec"].update(change)
    response = rest.replace(document, dry_run=True)
    assert response.status_code == 422
    assert causes(response) == {
        "spec.activeDeadlineSeconds": 'Invalid value: "object": activeDeadlineSeconds may only be increased'
    }


def test_a_deadline_may_be_given_later(rest: Rest, stored: dict[str, dict[str, Any]]) -> None:
    document = copy.deepcopy(stored["RolloutJob/rollout"])
    document["spec"]["activeDeadlineSeconds"] = 60
    assert rest.replace(document, dry_run=True).status_code == 200


def _is_default(value: Any, node: dict[str, Any]) -> bool:
    """Whether the API server puts just this value where there is none."""
    if not isinstance(value, dict) or "properties" not in node:
        return "default" in node and bool(value == node["default"])
    default = node.get("default")
    return default is not None and all(
        item == default[key] if key in default else _is_default(item, node["properties"][key])
        for key, item in value.items()
    )
