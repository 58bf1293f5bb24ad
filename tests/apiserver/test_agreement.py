"""Pydantic, `mora validate` and the API server agree on mutants of the good manifests, and on the field that is wrong."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from manifest_table import good_documents, put, remove
from rest import Rest, causes

from mora_jobs.validation.cel_rules import broken_rules
from mora_jobs.validation.fault import write_path
from mora_jobs.validation.schema_faults import parse, schema

Path = list[str | int]
WRONG_TYPE = {"string": 5, "integer": "x", "number": "x", "boolean": "x", "array": "x", "object": "x"}


def mutants(every_field: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Documents with one thing wrong: each fault once for each field, or once for each type of field."""
    seen: set[tuple[str, ...]] = set()
    for name, document in good_documents().items():
        spec = schema(document["kind"])["properties"]["spec"]
        for path, value, node in _nodes(document["spec"], spec, ["spec"]):
            for fault, changed in _faults(document, path, value, node):
                field = (str(path[-1]), str(path[-2])) if every_field and len(path) > 1 else ()
                what = (fault, _bounds(node), *field)
                if what not in seen:
                    seen.add(what)
                    yield f"{name} {write_path(tuple(path))} {fault}", changed


def _nodes(value: Any, node: dict[str, Any], path: Path) -> Iterator[tuple[Path, Any, dict[str, Any]]]:
    if "type" not in node:
        return
    yield path, value, node
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _nodes(
                item, node.get("properties", {}).get(key, node.get("additionalProperties", {})), [*path, key]
            )
    elif isinstance(value, list):
        for index, item in enumerate(value[:1]):
            yield from _nodes(item, node["items"], [*path, index])


def _faults(document: Any, path: Path, value: Any, node: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "type", _with(document, path, WRONG_TYPE[node["type"]])
    yield "null", _with(document, path, None)
    if "enum" in node:
        yield "choice", _with(document, path, "Nonsense")
    if "pattern" in node:
        yield "pattern", _with(document, path, " \n")
        yield "newline", _with(document, path, f"{value}\n")
        yield "unicode", _with(document, path, f"{value}\u00e9\u2003")
    if "maxLength" in node:
        yield "too long", _with(document, path, "x" * (node["maxLength"] + 1))
        yield "longest", _with(document, path, "\u00e9" * node["maxLength"])
    if "minimum" in node:
        yield "too small", _with(document, path, node["minimum"] - (0 if node.get("exclusiveMinimum") else 1))
    if "maximum" in node:
        yield "too large", _with(document, path, node["maximum"] + (0 if node.get("exclusiveMaximum") else 1))
    if node["type"] == "integer":
        yield "fraction", _with(document, path, 1.5)
    if node["type"] == "array":
        yield "too many", _with(document, path, value * (node["maxItems"] + 1))
        yield "empty", _with(document, path, [])
        yield "null entry", _with(document, path, [None])
    if node["type"] == "object":
        yield "empty", _with(document, path, {})
        yield "unknown" if "properties" in node else "key", _with(document, [*path, "a b"], 1)
    for member in node.get("required", ()):
        changed = copy.deepcopy(document)
        remove(changed, [*path, member])
        yield f"without {member}", changed


def _with(document: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    put(changed, path, value)
    return changed


def _bounds(node: dict[str, Any]) -> str:
    return str(
        {key: value for key, value in node.items() if key not in ("description", "default", "properties", "items")}
    )


def offline(document: dict[str, Any]) -> set[str]:
    """Paths of the faults that `mora validate` finds."""
    job, faults = parse(document)
    if job is not None:
        faults = list(broken_rules(job.to_dict(), schema(document["kind"])))
    return {write_path(path) for path, _ in faults}


def named_by(response: Any, path: str) -> bool:
    """Whether the API server names the field, its map or its list entry, or calls it an unknown field."""
    message = response.json()["message"]
    fields = causes(response)
    return f'unknown field "{path}"' in message or any(
        path == field or path.rpartition(".")[0] == field for field in fields
    )


@pytest.mark.parametrize("every_field", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_they_agree_on_every_mutant(rest: Rest, every_field: bool) -> None:
    disagreements, refused, admitted = [], 0, 0
    for name, document in mutants(every_field):
        ours, theirs = offline(document), rest.create(document, dry_run=True)
        refused += bool(ours)
        admitted += not ours
        if bool(ours) != (theirs.status_code != 201):
            disagreements.append(f"{name}: offline {ours or 'admits'}; API server {theirs.text[:300]}")
        elif ours and not any(named_by(theirs, path) for path in ours):
            disagreements.append(f"{name}: offline names {ours}; API server {theirs.text[:300]}")
    assert disagreements == []
    assert refused > 150
    assert admitted > 20
