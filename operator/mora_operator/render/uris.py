"""URIs of a job: which of them are volumes to mount, and what they are called inside a pod."""

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

from mora_jobs.api import Model
from mora_jobs.api.uris import PVC, claim_of, leaves, mapped, mount, without_cluster

from .names import VOLUMES

STORES = ("hf://", "s3://", "gs://", "az://")
PORTS = {"http": 80, "https": 443}
_M = TypeVar("_M", bound=Model)


def uris(job: Model) -> Iterator[tuple[str, str]]:
    """Every URI of a job's spec with its path, e.g. ("spec.rewards[0].classifier.model.uri", "pvc://models/rm")."""
    for path, value in leaves(without_cluster(job.to_dict()["spec"]), "spec"):
        if isinstance(value, str) and path.rsplit(".", 1)[-1] in ("uri", "url", "baseURL"):
            yield path, value


def claims(job: Model) -> set[str]:
    """Names of the PersistentVolumeClaims that a job's pvc:// URIs stand on."""
    return {claim for _, uri in uris(job) if (claim := claim_of(uri)) is not None}


def uses_stores(job: Model) -> bool:
    """Whether a job reads or writes in stores that are reached over HTTPS."""
    return any(uri.startswith(STORES) for _, uri in uris(job))


def endpoint_ports(job: Model) -> set[int]:
    """TCP ports of the HTTP endpoints that a job names, e.g. 8000 for `baseURL: http://vllm.models.svc:8000/v1`."""
    found = set()
    for _, uri in uris(job):
        # Where the URL is none, there is no way to open, and the driver says what is wrong with it.
        with contextlib.suppress(ValueError):
            url = urlsplit(uri)
            if url.scheme in PORTS:
                found.add(url.port or PORTS[url.scheme])
    return found


def localise(job: _M) -> _M:
    """The job as its pods see it: pvc://claim/path is file:///mnt/mora/volumes/claim/path."""
    return mount(job, lambda claim: f"{VOLUMES}/{claim}")


def globalise(report: Any) -> Any:
    """The reverse, for what pods report: a path in a pod means nothing outside it."""
    prefix = f"file://{VOLUMES}/"

    def outside(value: Any, field: str) -> Any:
        if isinstance(value, str) and value.startswith(prefix):
            return PVC + value.removeprefix(prefix)
        return value

    return mapped(report, outside)
