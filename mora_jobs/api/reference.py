"""docs/api.md, made from the same schema as the CRDs: one table for each object."""

import json
from collections.abc import Iterator
from typing import Any

from .crd import SHORT_NAMES, root_schema
from .immutability import MUTABLE
from .resolved import KINDS
from .schema import Schema

_HEAD = """# API reference

Made by `make generate` from `mora_jobs.api`; do not edit. Fields in **bold** are required.
After creation only {mutable} may change (the deadline may only grow); everything else is immutable.
"""
_BOUNDS = (
    ("minimum", "≥"),
    ("maximum", "≤"),
    ("minLength", "characters ≥"),
    ("maxLength", "characters ≤"),
    ("minItems", "entries ≥"),
    ("maxItems", "entries ≤"),
    ("minProperties", "keys ≥"),
    ("maxProperties", "keys ≤"),
)


def reference() -> str:
    """The whole page. An object that several kinds have in common is described once, where it comes first."""
    described: dict[str, str] = {}
    pages = [_HEAD.format(mutable=", ".join(f"`{name}`" for name in sorted(MUTABLE)))]
    for kind in KINDS:
        root = root_schema(kind)
        pages.append(f"## {kind}\n\n{root['description']} Short name `{SHORT_NAMES[kind]}`.\n")
        for part in ("spec", "status"):
            pages.extend(_objects(kind, part, root["properties"][part], described))
    return "\n".join(pages)


def _objects(kind: str, path: str, node: Schema, described: dict[str, str]) -> Iterator[str]:
    rows, inner = [], []
    for name, child in node["properties"].items():
        target = _object_inside(child)
        link = ""
        if target is not None:
            place = f"{path}.{name}" + ("[]" if child["type"] == "array" else "")
            fingerprint = repr({key: value for key, value in target.items() if key not in ("description", "default")})
            if fingerprint not in described:
                described[fingerprint] = f"{kind}: {place}"
                inner.append((place, target))
            link = f" See [{described[fingerprint]}](#{_anchor(described[fingerprint])})."
        rows.append(_row(name, child, name in node.get("required", ()), link))
    lines = [f"### {kind}: {path}", "", "| field | type | default | meaning |", "| --- | --- | --- | --- |", *rows]
    rules = [
        rule["message"] for rule in node.get("x-kubernetes-validations", ()) if "is immutable" not in rule["message"]
    ]
    lines += ["", *(f"- {message}" for message in rules)] if rules else []
    yield "\n".join(lines) + "\n"
    for place, target in inner:
        yield from _objects(kind, place, target, described)


def _object_inside(node: Schema) -> Schema | None:
    """The object that a field holds: itself, the entries of a list, or the values of a map."""
    for step in ("items", "additionalProperties"):
        if step in node:
            return _object_inside(node[step])
    return node if "properties" in node else None


def _row(name: str, node: Schema, required: bool, link: str) -> str:
    shown = f"**{name}**" if required else name
    default = f"`{_value(node['default'])}`" if "default" in node else ""
    meaning = f"{node.get('description', '')}{link}".replace("|", "\\|").replace("{{", "{ {").strip()
    return f"| {shown} | {_type(node)} | {default} | {meaning} |"


def _type(node: Schema) -> str:
    if "enum" in node:
        return " \\| ".join(f"`{choice}`" for choice in node["enum"])
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    name = str(node.get("type", "any"))
    if name == "array":
        name = f"list of {_type(node['items'])}"
    elif "additionalProperties" in node:
        name = f"map to {_type(node['additionalProperties'])}"
    bounds = [f"{sign} {_value(node[key])}" for key, sign in _BOUNDS if key in node]
    return f"{name} ({', '.join(bounds)})" if bounds else name


def _value(value: Any) -> str:
    """As it would stand in a manifest."""
    text = f"{value:.10g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
    return (value if isinstance(value, str) and value else text).replace("|", "\\|")


def _anchor(title: str) -> str:
    """GitHub's anchor of a heading."""
    return "".join(letter for letter in title.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")
