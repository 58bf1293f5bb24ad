"""URIs of a job: which of them are volumes to mount, and what they are called inside a pod."""

from collections.abc import Iterator
from typing import Any, TypeVar

from mora_jobs.api import Model
from mora_jobs.api.uris import PVC, leaves, mapped, mount, without_cluster

from .names import VOLUMES

REMOTE = ("hf://", "s3://", "gs://", "az://", "http://", "https://")
_M = TypeVar("_M", bound=Model)


def uris(job: Model) -> Iterator[tuple[str, str]]:
    """Every URI of a job's spec with its path, e.g. ("spec.rewards[0].classifier.model.uri", "pvc://models/rm")."""
    for path, value in leaves(without_cluster(job.to_dict()["spec"]), "spec"):
        if isinstance(value, str) and path.rsplit(".", 1)[-1] in ("uri", "url", "baseURL"):
            yield path, value


def claim_of(uri: str) -> str | None:
    """Name of the PersistentVolumeClaim that a pvc:// URI stands on."""
    return uri.removeprefix(PVC).split("/", 1)[0] if uri.startswith(PVC) else None


def claims(job: Model) -> set[str]:
    """Names of the PersistentVolumeClaims that a job's pvc:// URIs stand on."""
    return {claim for _, uri in uris(job) if (claim := claim_of(uri)) is not None}


def is_remote(job: Model) -> bool:
    """Whether a job reads or writes outside the cluster's volumes."""
    return any(uri.startswith(REMOTE) for _, uri in uris(job))


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
