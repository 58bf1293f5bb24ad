"""What the schema says against a manifest: pydantic's findings in the words of somebody who writes YAML."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from mora_jobs.api import KINDS, Job
from mora_jobs.api.crd import root_schema
from mora_jobs.api.crosscheck import nearest
from mora_jobs.api.metadata import METADATA_FIELDS
from mora_jobs.api.texts import PATTERNS

from .yaml_documents import Path

_WANTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def parse(document: Mapping[str, Any]) -> tuple[Job | None, list[tuple[Path, str]]]:
    """The job, or else what keeps the document from being one: path and message."""
    kind = document["kind"]
    faults = list(_unknown_metadata(document.get("metadata")))
    present = {name: value for name, value in document.items() if name != "status"}  # as the API server does
    text = json.dumps(without_null(present, schema(kind)))
    try:
        job = KINDS[kind].model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        faults += [(tuple(item["loc"]), _message(item, kind)) for item in error.errors(include_url=False)]
        return None, [_placed(path, message) for path, message in faults]
    return (None if faults else job), faults


@cache
def schema(kind: str) -> dict[str, Any]:
    """The structural schema of a kind, as in its CustomResourceDefinition."""
    return root_schema(kind)


def without_null(value: Any, node: Mapping[str, Any]) -> Any:
    """Members that are null count as absent, as in the API server; list items and open subtrees keep theirs."""
    if isinstance(value, dict) and "x-kubernetes-preserve-unknown-fields" not in node:
        members = node.get("properties", {})
        values = node.get("additionalProperties", {})
        return {
            key: without_null(item, members.get(key, values))
            for key, item in value.items()
            if item is not None or members.get(key, values).get("x-kubernetes-preserve-unknown-fields")
        }
    if isinstance(value, list):
        return [without_null(item, node.get("items", {})) for item in value]
    return value


def _unknown_metadata(metadata: Any) -> Iterator[tuple[Path, str]]:
    for name in metadata if isinstance(metadata, dict) else ():
        if name not in METADATA_FIELDS:
            yield ("metadata", name), f"unknown field{nearest(name, METADATA_FIELDS)}"


def _placed(path: Path, message: str) -> tuple[Path, str]:
    """Pydantic marks a fault of a map's key by "[key]" at the end."""
    return (path[:-1], f"key {message}") if path and path[-1] == "[key]" else (path, message)


def _message(error: Any, kind: str) -> str:
    context, given = error.get("ctx", {}), error.get("input")
    match error["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return f"unknown field{nearest(str(error['loc'][-1]), _members(kind, error['loc'][:-1]))}"
        case "enum" | "literal_error":
            return f"must be one of {_choices(context['expected'])}, not {_shown(given)}{_near(context, given)}"
        case "string_pattern_mismatch":
            wanted = PATTERNS.get(context["pattern"], f"a text of the form {context['pattern']}")
            return f"must be {wanted}, not {_shown(given)}"
        case "string_too_long":
            return f"may have at most {_count(context['max_length'], 'character')}, not {len(str(given))}"
        case "string_too_short":
            return f"must have at least {_count(context['min_length'], 'character')}"
        case "too_long":
            return f"may have at most {_count(context['max_length'], 'entry')}, not {context['actual_length']}"
        case "too_short":
            return f"must have at least {_count(context['min_length'], 'entry')}, not {context['actual_length']}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:.16g}, not {_shown(given)}"
        case "less_than_equal":
            return f"must be at most {context['le']:.16g}, not {_shown(given)}"
        case "greater_than":
            return f"must be greater than {context['gt']:.16g}, not {_shown(given)}"
        case "less_than":
            return f"must be less than {context['lt']:.16g}, not {_shown(given)}"
        case wanted if wanted in _WANTED:
            return f"must be {_WANTED[wanted]}, not {_shown(given)}"
        case _:
            return str(error["msg"])


def _members(kind: str, path: Path) -> list[str]:
    node = schema(kind)
    for part in path:
        node = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part, {})
    return list(node.get("properties", ()))


def _choices(expected: str) -> str:
    return expected.replace("'", "").replace(" or ", ", ")


def _near(context: Mapping[str, Any], given: Any) -> str:
    return nearest(given, _choices(context["expected"]).split(", ")) if isinstance(given, str) else ""


def _count(number: int, thing: str) -> str:
    return f"{number} {thing if number == 1 else {'entry': 'entries'}.get(thing, thing + 's')}"


def _shown(value: Any) -> str:
    """The value as it stood in the manifest, shortened."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
