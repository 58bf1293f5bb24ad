"""From pydantic's JSON schema to the structural schema that Kubernetes wants (no references, no null, every list bounded).

Why not kube-custom-resource 0.7.2: run over these models it left 92 `anyOf … null`, 62 `additionalProperties: false`, `const`,
numeric `exclusiveMinimum` and `propertyNames` (all refused by the API server), replaced a field's description by its class's,
spelled every nested default out, and wants our models to derive from its own; it knows neither list types nor CEL rules.
Its recursion over the schema is the small part that would be left, so the whole pass stands here.
"""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from .base import Model, Rule

Schema = dict[str, Any]
INT32 = 2_147_483_647


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, with the models' CEL rules, and defaults that leave nested defaults to the nested schema."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        json_schema = super().model_schema(schema)
        model = schema["cls"]
        if issubclass(model, Model) and model.cel:
            json_schema["x-kubernetes-validations"] = [as_validation(rule) for rule in model.cel]
        return json_schema

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Model) and dft.cel:  # the API server tries the rules on the default as it stands here
            return dft.to_dict()
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return super().encode_default(dft)


def as_validation(rule: Rule) -> Schema:
    """The rule as an entry of `x-kubernetes-validations`."""
    entry = {"rule": rule.expression, "message": rule.message, "reason": rule.reason}
    if rule.field:
        entry["fieldPath"] = "." + rule.field
    return entry


def structural(model: type[BaseModel], mode: JsonSchemaMode = "validation") -> Schema:
    """The structural schema of a model. Raises ValueError for what Kubernetes cannot express (unions, recursion)."""
    generated = model.model_json_schema(by_alias=True, mode=mode, schema_generator=_Generator)
    definitions = generated.pop("$defs", {})
    return _convert(generated, definitions, ())


def without_defaults(node: Schema) -> Schema:
    """The schema without any default: a status holds what was reported, and nothing else."""
    out = {key: value for key, value in node.items() if key != "default"}
    if "properties" in out:
        out["properties"] = {name: without_defaults(child) for name, child in out["properties"].items()}
    for inner in ("items", "additionalProperties"):
        if inner in out:
            out[inner] = without_defaults(out[inner])
    return out


def _convert(node: Schema, definitions: dict[str, Schema], parents: tuple[str, ...]) -> Schema:
    node = _without_null(node)
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        if name in parents:
            raise ValueError(f"{name} contains itself; a structural schema cannot")
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        return _convert({**definitions[name], **siblings}, definitions, (*parents, name))
    out = {key: value for key, value in node.items() if key not in ("title", "x-list-key", "propertyNames")}
    if node.get("x-kubernetes-preserve-unknown-fields") or node.get("x-kubernetes-int-or-string"):
        return _ordered({key: value for key, value in out.items() if key != "default"})
    if "const" in out:
        out["enum"] = [out.pop("const")]
    for union in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if union in out:
            raise ValueError(f"{union} is not structural: {node}")
    match out.get("type"):
        case "object":
            _convert_object(out, node, definitions, parents)
        case "array":
            out["items"] = _convert(node["items"], definitions, parents)
            if "x-list-key" in node:
                out["x-kubernetes-list-type"] = "map"
                out["x-kubernetes-list-map-keys"] = [node["x-list-key"]]
        case "integer" | "number":
            _convert_number(out)
        case "string" | "boolean":
            pass
        case other:
            raise ValueError(f"type {other!r} is not structural: {node}")
    return _ordered(out)


def _without_null(node: Schema) -> Schema:
    """`X | None = None` is an optional X: absent, never null."""
    if "anyOf" not in node:
        return node
    given = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
    if len(given) != 1:
        raise ValueError(f"a union is not structural, make its choices optional members: {node}")
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    if rest.get("default", ...) is None:
        del rest["default"]
    return _without_null({**given[0], **rest})


def _convert_object(out: Schema, node: Schema, definitions: dict[str, Schema], parents: tuple[str, ...]) -> None:
    if "properties" in node:
        out["properties"] = {
            name: _convert(child, definitions, parents) for name, child in sorted(node["properties"].items())
        }
        out.pop("additionalProperties", None)  # unknown fields: pruned, or refused by strict field validation
    elif (values := _map_values(node)) is not None:
        out["additionalProperties"] = _convert(values, definitions, parents)
        out.pop("patternProperties", None)
        rule = _key_rule(node)
        if rule is not None:
            out["x-kubernetes-validations"] = [as_validation(rule)]
    else:
        raise ValueError(f"neither members nor a value type: {node}")


def _map_values(node: Schema) -> Schema | None:
    """The schema of a map's values; pydantic writes it in another place when the keys have a pattern."""
    if isinstance(node.get("additionalProperties"), dict):
        return dict(node["additionalProperties"])
    patterns = list(node.get("patternProperties", {}).values())
    return patterns[0] if len(patterns) == 1 else None


def _key_rule(node: Schema) -> Rule | None:
    """Kubernetes has no schema for a map's keys; CEL can check them."""
    conditions, wishes = [], []
    if "maxLength" in node.get("propertyNames", {}):
        longest = node["propertyNames"]["maxLength"]
        conditions.append(f"key.size() <= {longest}")
        wishes.append(f"at most {longest} characters")
    for pattern in node.get("patternProperties", {}):
        conditions.append(f"key.matches(r'{pattern}')")
        wishes.append(f"the form {pattern}")
    if not conditions:
        return None
    return Rule(f"self.all(key, {' && '.join(conditions)})", f"a key must have {' and '.join(wishes)}")


def _convert_number(out: Schema) -> None:
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in out:  # OpenAPI 3.0 has booleans here
            out[limit] = out[bound]
            out[bound] = True
    if out["type"] == "integer":
        out["format"] = "int32" if abs(out.get("maximum", INT32 + 1)) <= INT32 else "int64"


def _ordered(node: Schema) -> Schema:
    """Keys in a fixed order that reads well: what it is, then its bounds, then its members."""
    last = ("x-kubernetes-validations", "required", "properties")
    if "x-kubernetes-validations" in node:
        order = ("rule", "message", "messageExpression", "reason", "fieldPath")
        node["x-kubernetes-validations"] = [
            {key: rule[key] for key in order if key in rule} for rule in node["x-kubernetes-validations"]
        ]
    first = ("description", "type", "format", "default", "enum")
    middle = sorted(key for key in node if key not in first and key not in last)
    return {key: node[key] for key in (*first, *middle, *last) if key in node}
