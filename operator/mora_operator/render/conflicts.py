"""What a manifest must not take in a pod: the names and folders of the operator and of KubeRay.

The schema cannot see it, and a pod that has two things of one name is refused only when the cluster is made.
"""

from collections.abc import Iterable, Iterator
from posixpath import normpath

from mora_jobs.api import Job, credentials
from mora_jobs.api.cluster import CredentialForm, HeadGroup, PodPatch, WorkerGroup

from . import names

_Fault = tuple[str, str]


def conflicts(job: Job) -> Iterator[_Fault]:
    """Path and message of everything in the job's pod patches that is not theirs to set."""
    groups: tuple[tuple[str, HeadGroup | WorkerGroup], ...] = (
        ("spec.cluster.head.pod", job.spec.cluster.head),
        ("spec.cluster.workers.pod", job.spec.cluster.workers),
    )
    for path, group in groups:
        yield from _metadata(group.pod, path)
        yield from _env(group.pod, path, dict(_variables(job)))
        yield from _volumes(group.pod, path)
        yield from _mounts(group.pod, path, [each.mount_path for each in job.spec.credentials if each.mount_path])


def credential_conflicts(job: Job) -> Iterator[_Fault]:
    """The same for what the job's credentials set: variables, and files."""
    taken: list[str] = []
    for index, each in enumerate(job.spec.credentials):
        path = f"spec.credentials[{index}]"
        if each.as_ is CredentialForm.ENV and credentials.variable(each.name) in names.VARIABLES:
            yield f"{path}.name", f"the variable {credentials.variable(each.name)} is not a manifest's to set"
        if each.mount_path is not None:
            if why := _occupied(each.mount_path, taken):
                yield f"{path}.mountPath", why
            taken.append(each.mount_path)


def _metadata(patch: PodPatch, path: str) -> Iterator[_Fault]:
    for key in patch.labels:
        if key.startswith(names.LABEL_PREFIX):
            yield f"{path}.labels", f"{key}: KubeRay finds the pods of a cluster by such labels"
    for key in patch.annotations:
        if key.startswith(names.LABEL_PREFIX):
            yield f"{path}.annotations", f"{key}: KubeRay is told by such annotations how to run a pod"
        if key.startswith(names.SECURITY_PREFIXES):
            yield f"{path}.annotations", f"{key}: the confinement of the pods may not be changed"


def _variables(job: Job) -> Iterator[tuple[str, str]]:
    """Variables that are taken, with the reason."""
    for name in names.VARIABLES:
        yield name, "is not a manifest's to set"
    for each in job.spec.credentials:
        for name in credentials.client_environment(each):
            yield name, f"is set by the credential {each.name}"
        if each.as_ is CredentialForm.ENV:
            yield credentials.variable(each.name), f"is set by the credential {each.name}"


def _env(patch: PodPatch, path: str, taken: dict[str, str]) -> Iterator[_Fault]:
    for index, variable in enumerate(patch.env):
        if variable.name in taken:
            yield f"{path}.env[{index}].name", f"the variable {variable.name} {taken[variable.name]}"


def _volumes(patch: PodPatch, path: str) -> Iterator[_Fault]:
    for index, volume in enumerate(patch.volumes):
        name = volume["name"]
        if name in names.OPEN_VOLUMES or name.startswith(names.VOLUME_PREFIX):
            yield f"{path}.volumes[{index}].name", f"{name} is the name of a volume that the operator makes"


def _mounts(patch: PodPatch, path: str, files: Iterable[str]) -> Iterator[_Fault]:
    known = {volume["name"] for volume in patch.volumes}.union(names.OPEN_VOLUMES)
    taken = list(files)
    for index, mount in enumerate(patch.volume_mounts):
        here = f"{path}.volumeMounts[{index}]"
        if mount["name"] not in known:
            yield f"{here}.name", f"there is no volume {mount['name']}"
        if why := _occupied(mount["mountPath"], taken):
            yield f"{here}.mountPath", why
        taken.append(mount["mountPath"])


def _occupied(path: str, taken: Iterable[str]) -> str | None:
    """Why nothing may be mounted there; None where it may."""
    clean = _clean(path)
    for ours in names.CLOSED_FOLDERS:
        if _within(clean, ours) or _within(ours, clean):
            return f"{path} would lie over {ours}, which the operator mounts"
    for ours in names.OPEN_FOLDERS:
        if _within(ours, clean):
            return f"{path} would lie over {ours}, which the operator mounts"
    if clean in map(_clean, taken):
        return f"something else is mounted at {path}"
    return None


def _clean(path: str) -> str:
    return "/" + normpath(path).lstrip("/")


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
