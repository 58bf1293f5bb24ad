"""The CEL rules of the CRDs, evaluated offline on the job with its defaults, as the API server does on creation."""

import ipaddress
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import cel

from .yaml_documents import Path


def broken_rules(value: Any, node: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Path and message of every rule of the schema that the value breaks; entries that repeat a list's key as well."""
    for rule in node.get("x-kubernetes-validations", ()):
        if "oldSelf" not in rule["rule"] and not _holds(rule["rule"], value):
            inside = tuple(rule.get("fieldPath", "").removeprefix(".").split(".")) if rule.get("fieldPath") else ()
            yield (*path, *inside), rule["message"]
    if isinstance(value, dict):
        members, values = node.get("properties", {}), node.get("additionalProperties")
        for key, item in value.items():
            child = members.get(key, values)
            if child:
                yield from broken_rules(item, child, (*path, key))
    elif isinstance(value, list):
        yield from _repeated(value, node, path)
        for index, item in enumerate(value):
            yield from broken_rules(item, node.get("items", {}), (*path, index))


def _holds(expression: str, value: Any) -> bool:
    context = cel.Context({"self": value}, {"sum": sum, "isCIDR": _is_cidr})
    return _program(expression).execute(context) is True


@cache
def _program(expression: str) -> cel.Program:
    return cel.compile(expression)


def _is_cidr(text: str) -> bool:
    """Kubernetes' isCIDR: an address and a prefix length."""
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return "/" in text and text.rsplit("/", 1)[1].isdigit()


def _repeated(items: list[Any], node: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, str]]:
    for key in node.get("x-kubernetes-list-map-keys", ()):
        seen: dict[Any, int] = {}
        for index, item in enumerate(items):
            first = seen.setdefault(item[key], index)
            if first != index:
                yield (*path, index, key), f"{item[key]} is there already, in entry {first}"
