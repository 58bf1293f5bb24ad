"""`mora rerun`: a new object with the spec of an old one."""

import argparse
import re

from mora_jobs.api import API_VERSION

from . import names
from .opening import open_cluster
from .source import Object

NAME_LIMIT = 40
TRACKING = (
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "app.kubernetes.io/managed-by",
)
"""Labels and annotations by which GitOps tools know their own: a copy that carries them would be pruned."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def main(given: argparse.Namespace) -> int:
    kind, old = names.job(given.job)
    cluster = open_cluster(given)
    source = cluster.objects([kind], old)[0]
    taken = {thing["metadata"]["name"] for thing in cluster.objects([kind])}
    name, number = (given.name, None) if given.name else next_name(old, taken)
    copy = again(source, name, given.output or output_of(source["spec"]["output"]["uri"], name, number))
    cluster.create(copy)
    print(f"{kind}/{name} created, output {copy['spec']['output']['uri']}")
    return 0


def again(source: Object, name: str, output: str) -> Object:
    """The manifest of the new object."""
    metadata = source["metadata"]
    spec = {**source["spec"], "output": {**source["spec"]["output"], "uri": output}}
    spec.pop("suspend", None)
    return {
        "apiVersion": API_VERSION,
        "kind": source["kind"],
        "metadata": {
            "name": name,
            "labels": _own(metadata.get("labels", {})),
            "annotations": _own(metadata.get("annotations", {})),
        },
        "spec": spec,
    }


def next_name(old: str, taken: set[str]) -> tuple[str, int]:
    """The old name with the first free number: helpful-2, helpful-3, …"""
    stem = re.sub(r"-[0-9]+$", "", old)
    number = 2
    while True:
        name = f"{stem[: NAME_LIMIT - len(str(number)) - 1]}-{number}"
        if name not in taken:
            return name, number
        number += 1


def output_of(uri: str, name: str, number: int | None) -> str:
    """A folder of its own beside the old one: artifacts of two jobs never share one."""
    suffix = str(number) if number is not None else name
    return f"{re.sub(r'-[0-9]+$', '', uri.rstrip('/'))}-{suffix}"


def _own(texts: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in texts.items() if key != LAST_APPLIED and not key.startswith(TRACKING)}
