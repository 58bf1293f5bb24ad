"""Transition rules: what may change in a spec after creation, and that everything else may not.

A rule on the field itself (`self == oldSelf`) is not run when the field is added or removed, so the rules stand on the spec and
begin with `has(self.x) == has(oldSelf.x)` for optional members. Parents that are always there (required, or with a default) are
entered, so that the error names the innermost field. The rules cannot stand on those parents: the API server tries the rules of
an object on its default, before the defaults inside it are filled in.
"""

from collections.abc import Iterator

from .base import Rule
from .schema import Schema, as_validation

# suspend and the TTL change freely; activeDeadlineSeconds has a rule of its own in CommonSpec (increase only).
MUTABLE = frozenset({"suspend", "ttlSecondsAfterFinished", "activeDeadlineSeconds"})


def freeze(spec: Schema) -> None:
    """Add the rules to the schema of a spec, in place."""
    rules = [frozen_member(path, always) for path, always in frozen_members(spec) if path not in MUTABLE]
    spec["x-kubernetes-validations"] = [*spec.get("x-kubernetes-validations", []), *map(as_validation, rules)]


def frozen_members(node: Schema, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """The members that get a rule each: path below spec, and whether the member is always there."""
    for name, child in node["properties"].items():
        path = f"{prefix}{name}"
        always = name in node.get("required", ()) or "default" in child
        if always and child.get("type") == "object" and "properties" in child:
            yield from frozen_members(child, f"{path}.")
        else:
            yield path, always


def frozen_member(path: str, always: bool) -> Rule:
    """The rule for one member of the spec."""
    new, old = (f"{root}.{path}" for root in ("self", "oldSelf"))
    same = f"{new} == {old}"
    if not always:
        same = f"has({new}) == has({old}) && (!has({new}) || {same})"
    return Rule(same, f"spec.{path} is immutable; make a new object (mora rerun)", path, "FieldValueForbidden")
