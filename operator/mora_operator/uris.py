"""URIs of a job: which there are, which of them are volumes to mount, and what they are called inside a pod."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from mora_jobs.api import Model

VOLUMES = "/mnt/mora/volumes"
"""Folder in the pods under which the claims of pvc:// URIs are mounted, each under its own name."""
REMOTE = ("hf://", "s3://", "gs://", "az://", "http://", "https://")
_M = TypeVar("_M", bound=Model)


def uris(job: Model) -> Iterator[tuple[str, str]]:
    """Every URI of a job's spec with its path, e.g. ("spec.rewards[0].classifier.model.uri", "pvc://models/rm")."""
    for path, value in _texts(job.to_dict()["spec"], "spec"):
        if path.rsplit(".", 1)[-1] in ("uri", "url", "baseURL"):
            yield path, value


def claims(job: Model) -> set[str]:
    """Names of the PersistentVolumeClaims that a job's pvc:// URIs stand on."""
    return {uri.removeprefix("pvc://").split("/", 1)[0] for _, uri in uris(job) if uri.startswith("pvc://")}


def is_remote(job: Model) -> bool:
    """Whether a job reads or writes outside the cluster's volumes."""
    return any(uri.startswith(REMOTE) for _, uri in uris(job))


def relative(job: Model) -> str | None:
    """Path of the first file:// URI without a leading slash; a cluster has no folder that it could be relative to."""
    return next(
        (path for path, uri in uris(job) if uri.startswith("file://") and not uri.startswith("file:///")), None
    )


def localise(job: _M) -> _M:
    """The job as its pods see it: pvc://claim/path is file:///mnt/mora/volumes/claim/path."""

    def inside(value: Any, field: str) -> Any:
        if field == "uri" and isinstance(value, str) and value.startswith("pvc://"):
            return f"file://{VOLUMES}/" + value.removeprefix("pvc://")
        return value

    return type(job).model_validate(_map(job.to_dict(), inside))


def globalise(report: Any) -> Any:
    """The reverse, for what pods report: a path in a pod means nothing outside it."""
    prefix = f"file://{VOLUMES}/"

    def outside(value: Any, field: str) -> Any:
        if isinstance(value, str) and value.startswith(prefix):
            return "pvc://" + value.removeprefix(prefix)
        return value

    return _map(report, outside)


def _map(value: Any, change: Callable[[Any, str], Any], field: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _map(item, change, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_map(item, change, field) for item in value]
    return change(value, field)


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]")
