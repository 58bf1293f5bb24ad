"""The base of every API type: camelCase on the wire, unknown fields refused, docstrings become `kubectl explain`."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import core_schema

from .texts import JobName, ObjectName, SecretKey

GROUP = "mora.dev"
VERSION = "v1alpha1"
API_VERSION: Literal["mora.dev/v1alpha1"] = "mora.dev/v1alpha1"


@dataclass(frozen=True, slots=True)
class Rule:
    """One CEL validation rule (`x-kubernetes-validations`), evaluated by the API server and by `mora validate` alike.

    `expression` sees the object as `self` (and its former state as `oldSelf` in a transition rule); `field` is the
    member that the error names, relative to the object.
    """

    expression: str
    message: str
    field: str = ""
    reason: str = "FieldValueInvalid"


class Model(BaseModel):
    """An API object: frozen, camelCase on the wire, snake_case in Python, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )
    cel: ClassVar[tuple[Rule, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """The object as it stands in a manifest: camelCase, JSON types, members without a value left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def with_changes(self, **changes: Any) -> Self:
        """A copy with some members replaced, without validation (for values that code made, not users)."""
        return self.model_copy(update=changes)


def credential_known(owner: str) -> Rule:
    """The rule of a spec that an optional `credentialsRef` of `owner` (a path of optional members) is in spec.credentials."""
    path = f"{owner}.credentialsRef"
    known = f"self.credentials.exists(each, each.name == self.{path})"
    return Rule(f"!({given('self', path)}) || {known}", "no entry of spec.credentials has this name", path)


def given(root: str, path: str) -> str:
    """The expression that all of a path's optional members are there: `has(root.a) && has(root.a.b)`."""
    members = path.split(".")
    return " && ".join(f"has({root}.{'.'.join(members[: depth + 1])})" for depth in range(len(members)))


def exactly_one_of(*members: str) -> Rule:
    """The rule of a union: optional members of which exactly one is given."""
    present = ", ".join(f"has(self.{member})" for member in members)
    names = ", ".join(members)
    return Rule(f"[{present}].filter(given, given).size() == 1", f"exactly one of {names} must be given")


class Checked:
    """Annotation of a dict: checked by a model and described by its schema, but kept as the dict that a pod template wants."""

    def __init__(self, model: type[Model]) -> None:
        self.model = model

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(
            self.model.to_dict,
            handler.generate_schema(self.model),
            serialization=core_schema.plain_serializer_function_ser_schema(dict),
        )


class JobRef(Model):
    """Another job in the same namespace (or in the same `mora run`)."""

    name: JobName
    """metadata.name of the job."""


class KeyRef(Model):
    """One key of a Secret or a ConfigMap in the same namespace."""

    name: ObjectName
    """Name of the Secret or ConfigMap."""
    key: SecretKey
    """Key inside it."""


class NameRef(Model):
    """An object in the same namespace, by name."""

    name: ObjectName
    """metadata.name of the object."""
