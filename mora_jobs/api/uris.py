"""The URIs in a job: listed with their paths, and made absolute."""

from collections.abc import Iterator
from os.path import normpath
from pathlib import Path
from typing import Any, TypeVar

from .base import Model

_J = TypeVar("_J", bound=Model)
FILE = "file://"


def uris(job: Model) -> Iterator[tuple[str, str]]:
    """Every URI that a job reads or writes, with its path, e.g. ("spec.rewards[0].classifier.model.uri", "pvc://models/rm")."""
    for path, value in _leaves(_without_cluster(job.to_dict()["spec"]), "spec"):
        if path.endswith(".uri"):
            yield path, value


def make_absolute(job: _J, inputs: Path, outputs: Path) -> _J:
    """The job with relative file:// URIs resolved: inputs against the manifest's folder, outputs against the workdir."""
    document = job.to_dict()
    spec = document["spec"]
    changed = {name: _absolute(value, name, outputs if name == "output" else inputs) for name, value in spec.items()}
    document["spec"] = changed | {name: spec[name] for name in ("cluster",) if name in spec}
    return type(job).model_validate(document)


def _absolute(value: Any, name: str, folder: Path) -> Any:
    if isinstance(value, dict):
        return {key: _absolute(item, key, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_absolute(item, name, folder) for item in value]
    if name == "uri" and isinstance(value, str) and value.startswith(FILE) and not value.startswith("file:///"):
        return FILE + normpath(folder.absolute() / value.removeprefix(FILE))
    return value


def _without_cluster(spec: dict[str, Any]) -> dict[str, Any]:
    """Pod volumes may have members of the same name."""
    return {name: value for name, value in spec.items() if name != "cluster"}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value
