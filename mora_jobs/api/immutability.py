"""Transition rules: what may change in a spec after creation, and that everything else may not.

A rule on the field itself (`self == oldSelf`) is not run when the field is added or removed, so the rules stand on the spec and
begin with `has(self.x) == has(oldSelf.x)` for optional members. The API server evaluates every rule at every update, that of a
status too, hence one rule for each member of the spec and not for each field; which inner field it was is worked out by
`messageExpression`, on refusal only.
"""

from collections.abc import Iterator

from .base import Rule
from .schema import Schema, as_validation

# suspend and the TTL change freely; activeDeadlineSeconds has a rule of its own in CommonSpec (increase only).
MUTABLE = frozenset({"suspend", "ttlSecondsAfterFinished", "activeDeadlineSeconds"})
ADVICE = "is immutable; make a new object (mora rerun)"


def freeze(spec: Schema) -> None:
    """Add the rules to the schema of a spec, in place."""
    rules = [
        _rule(name, child, _always(spec, name)) for name, child in spec["properties"].items() if name not in MUTABLE
    ]
    spec["x-kubernetes-validations"] = [*spec.get("x-kubernetes-validations", []), *rules]


def _rule(name: str, child: Schema, always: bool) -> Schema:
    new, old = f"self.{name}", f"oldSelf.{name}"
    same = f"{new} == {old}" if always else f"has({new}) == has({old}) && (!has({new}) || {new} == {old})"
    rule = as_validation(Rule(same, f"spec.{name} {ADVICE}", name, "FieldValueForbidden"))
    inner = list(_inner_members(child, f"{name}.")) if always else []
    if inner:
        # The first that changed: a list of all of them exceeds the API server's estimate of what strings may cost.
        changed = " : ".join(f"{_changed(path, given)} ? 'spec.{path} {ADVICE}'" for path, given in inner)
        rule["messageExpression"] = f"{changed} : '{rule['message']}'"
    return rule


def _inner_members(node: Schema, prefix: str) -> Iterator[tuple[str, bool]]:
    """The members inside an object: path below spec, and whether it is always there. Optional objects are not entered."""
    for name, child in node.get("properties", {}).items():
        path, always = f"{prefix}{name}", _always(node, name)
        if always and "properties" in child:
            yield from _inner_members(child, f"{path}.")
        else:
            yield path, always


def _changed(path: str, always: bool) -> str:
    new, old = f"self.{path}", f"oldSelf.{path}"
    return f"{new} != {old}" if always else f"has({new}) != has({old}) || has({new}) && {new} != {old}"


def _always(node: Schema, name: str) -> bool:
    return name in node.get("required", ()) or "default" in node["properties"][name]
