"""The three CustomResourceDefinitions, made from the models."""

from typing import Any

import yaml

from .base import GROUP, VERSION, Rule
from .immutability import freeze
from .resolved import KINDS
from .schema import Schema, as_validation, structural, without_defaults

MAX_FILE_BYTES = 262_144
"""`kubectl apply` keeps the whole object in an annotation; this is the API server's limit for it."""

SHORT_NAMES = {"RolloutJob": "rlj", "RewriteJob": "rwj", "AlignmentJob": "alj"}
NAME_RULES = (
    Rule("self.metadata.name.size() <= 40", "the name may have at most 40 characters", "metadata.name"),
    Rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "the name must be an RFC 1035 label: lower case letters, digits and dashes, beginning with a letter",
        "metadata.name",
    ),
)
_OWN_COLUMN = {
    "RolloutJob": (
        "Single-Reward",
        "integer",
        ".status.isolation.singleRewardTotal",
        "Prompts that can earn only one reward.",
    ),
    "RewriteJob": ("Accepted", "integer", ".status.rewrites.accepted", "Prompts whose rewrite was accepted."),
    "AlignmentJob": ("Hypervolume", "string", ".status.pareto.hypervolume", "Hypervolume of the Pareto front."),
}


def crd(kind: str) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    singular = kind.lower()
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{singular}s.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": f"{singular}s",
                "singular": singular,
                "shortNames": [SHORT_NAMES[kind]],
                "categories": ["mora"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": printer_columns(kind),
                    "schema": {"openAPIV3Schema": root_schema(kind)},
                }
            ],
        },
    }


def root_schema(kind: str) -> Schema:
    """The structural schema of a whole object, with every validation and transition rule."""
    root = structural(KINDS[kind])
    properties = root["properties"]
    freeze(properties["spec"])
    properties["status"] = without_defaults(properties["status"]) | {"default": {"observedGeneration": -1}}
    properties["apiVersion"] = {"type": "string", "description": f"{GROUP}/{VERSION}"}
    properties["kind"] = {"type": "string", "description": kind}
    # Kubernetes' own; the name is declared so that the rules below can point at it.
    properties["metadata"] = {"type": "object", "properties": {"name": {"type": "string"}}}
    return {
        "description": root["description"],
        "type": "object",
        "x-kubernetes-validations": [as_validation(rule) for rule in NAME_RULES],
        "required": ["spec"],
        "properties": properties,
    }


def printer_columns(kind: str) -> list[dict[str, Any]]:
    """What `kubectl get` shows; the last three with `-o wide`."""
    narrow = [
        ("Phase", "string", ".status.phase", "Where the job stands."),
        ("Progress", "integer", ".status.progress.progressPercentage", "Share done, in percent."),
        ("Attempt", "integer", ".status.attempts.current", "Index of the newest attempt."),
        ("GPUs", "integer", ".status.gpus", "GPUs of the current attempt."),
        _OWN_COLUMN[kind],
    ]
    wide = [
        ("RayJob", "string", ".status.currentAttempt.rayJobName", "Name of the newest RayJob."),
        ("Queue", "string", ".status.queue.localQueue", "Kueue queue."),
        ("Message", "string", '.status.conditions[?(@.type=="Ready")].message', "What the job says."),
    ]
    age = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    return [*(_column(*entry) for entry in narrow), age, *({**_column(*entry), "priority": 1} for entry in wide)]


def _column(name: str, type_: str, path: str, description: str) -> dict[str, Any]:
    return {"name": name, "type": type_, "jsonPath": path, "description": description}


class _Dumper(yaml.SafeDumper):
    """One line for each leaf: indentation would otherwise be half of the file."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        leaf = not any(isinstance(value, dict) or _holds_dict(value) for value in mapping.values())
        return super().represent_mapping(tag, mapping, flow_style=leaf)


def _holds_dict(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def crd_yaml(kind: str) -> str:
    """The manifest as it stands in crds/."""
    text = yaml.dump(crd(kind), Dumper=_Dumper, sort_keys=False, width=100_000, allow_unicode=True)
    return f"# Made by `make generate` from mora_jobs.api; do not edit.\n{text}"
