"""The URIs in a job: listed with their paths, and made absolute."""

from collections.abc import Callable, Iterator
from functools import partial
from os.path import normpath
from pathlib import Path
from typing import Any, TypeVar

from .base import Model

_J = TypeVar("_J", bound=Model)
FILE = "file://"
PVC = "pvc://"


def uris(job: Model) -> Iterator[tuple[str, str]]:
    """Every URI that a job reads or writes, with its path, e.g. ("spec.rewards[0].classifier.model.uri", "pvc://models/rm")."""
    for path, value in leaves(without_cluster(job.to_dict()["spec"]), "spec"):
        if path.endswith(".uri"):
            yield path, value


def make_absolute(job: _J, inputs: Path, outputs: Path) -> _J:
    """The job with relative file:// URIs resolved: inputs against the manifest's folder, outputs against the workdir."""

    document = job.to_dict()
    for name, value in without_cluster(document["spec"]).items():
        document["spec"][name] = mapped(value, partial(_absolute, outputs if name == "output" else inputs), name)
    return type(job).model_validate(document)


def _absolute(folder: Path, value: Any, field: str) -> Any:
    if field == "uri" and isinstance(value, str) and value.startswith(FILE) and not value.startswith("file:///"):
        return FILE + normpath(folder.absolute() / value.removeprefix(FILE))
    return value


def claim_of(uri: str) -> str | None:
    """Name of the PersistentVolumeClaim that a pvc:// URI stands on."""
    return uri.removeprefix(PVC).partition("/")[0] if uri.startswith(PVC) else None


def mount(job: _J, folder_of: Callable[[str], str | None]) -> _J:
    """The job with pvc://claim/path as file://folder/path, where `folder_of(claim)` knows the claim's folder."""

    def inside(value: Any, field: str) -> Any:
        claim = claim_of(value) if field == "uri" and isinstance(value, str) else None
        folder = folder_of(claim) if claim is not None else None
        return value if folder is None else FILE + folder + value.removeprefix(f"{PVC}{claim}")

    document = job.to_dict()
    document["spec"] |= mapped(without_cluster(document["spec"]), inside)
    return type(job).model_validate(document)


def without_cluster(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec without its pods, whose annotations and volumes may have members of the same names."""
    return {name: value for name, value in spec.items() if name != "cluster"}


def mapped(value: Any, change: Callable[[Any, str], Any], field: str = "") -> Any:
    """A document with each leaf as `change(leaf, field)` gives it; items of a list have the field of the list."""
    if isinstance(value, dict):
        return {key: mapped(item, change, key) for key, item in value.items()}
    if isinstance(value, list):
        return [mapped(item, change, field) for item in value]
    return change(value, field)


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every leaf of a document with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    else:
        yield path, value
