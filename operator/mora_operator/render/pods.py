"""Pod templates that pass Pod Security `restricted`: of the Ray head, the Ray workers and the submitter."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mora_jobs.api import Credential, Job, credentials
from mora_jobs.api.cluster import CredentialForm, Resources
from mora_jobs.api.progress import CA_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE

from ..resources import Object
from .names import CA_FILE, CODE, CONFIG, SCRATCH, SHARED_MEMORY, TOKEN, VOLUMES

USER = 1000
TOKEN_SECONDS = 3600

HARDENED_POD: Object = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    # Walking through a large volume to change its group takes minutes; it is done only where the root does not fit.
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
HARDENED_CONTAINER: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
# Members of a pod that a patch sets as they are; the others are merged with ours.
PLACEMENT = ("nodeSelector", "tolerations", "affinity", "priorityClassName", "schedulerName")
PATCHED = (
    *PLACEMENT,
    "topologySpreadConstraints",
    "runtimeClassName",
    "resourceClaims",
    "terminationGracePeriodSeconds",
)
DEFAULT_HEAD = {"cpu": "500m", "memory": "2Gi"}
DEFAULT_WORKER = {"cpu": "1", "memory": "4Gi"}
EPHEMERAL = "ephemeral-storage"
SHM_SIZE = "1Gi"
# Ray's logs and what its object store spills; without a bound one job's spilling evicts the node's other pods.
SCRATCH_SIZE = "64Gi"
SUBMITTER_LIMIT = "1Gi"
# What a patch may set otherwise.
COMMON_ENV = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, slots=True)
class Reporting:
    """Where the driver reports to, and the audience that its token is bound to."""

    url: str
    audience: str


@dataclass(frozen=True, slots=True)
class PodSource:
    """What the pods of one attempt have in common; `worker_annotations` are those that place them."""

    job: Job
    image: str
    config_map: str
    service_account: str
    labels: Mapping[str, str]
    worker_annotations: Mapping[str, str]
    claims: tuple[str, ...]
    code: tuple[str, ...]
    reporting: Reporting


@dataclass(slots=True)
class _Parts:
    """Volumes, their mounts and environment variables, collected piece by piece."""

    volumes: list[Object] = field(default_factory=list)
    mounts: list[Object] = field(default_factory=list)
    env: list[Object] = field(default_factory=list)

    def mount(self, name: str, path: str, source: Object, read_only: bool = False) -> None:
        self.volumes.append({"name": name, **source})
        self.mounts.append({"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})})


def head(source: PodSource) -> Object:
    """The Ray head. The driver runs here: it alone gets the token to report progress with."""
    group = source.job.spec.cluster.head
    parts = _common(source, SHM_SIZE, group.resources)
    token = {"audience": source.reporting.audience, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    parts.mount("mora-progress", TOKEN, {"projected": {"sources": [{"serviceAccountToken": token}]}}, read_only=True)
    parts.env += [
        {"name": URL_VARIABLE, "value": source.reporting.url},
        {"name": CA_VARIABLE, "value": CA_FILE},
        {"name": TOKEN_VARIABLE, "value": f"{TOKEN}/token"},
    ]
    return _template(source, "ray-head", parts, group.resources, DEFAULT_HEAD, group.pod.to_dict())


def worker(source: PodSource) -> Object:
    """A Ray worker, where engines and trainers run."""
    group = source.job.spec.cluster.workers
    parts = _common(source, group.shm_size or SHM_SIZE, group.resources)
    patch = group.pod.to_dict()
    patch["annotations"] = dict(source.worker_annotations) | patch["annotations"]
    return _template(source, "ray-worker", parts, group.resources, DEFAULT_WORKER, patch)


def submitter(source: PodSource, cpu: str, memory: str) -> Object:
    """The pod that hands the driver to the Ray cluster and follows its log. KubeRay's own has no securityContext."""
    resources = Resources(requests={"cpu": cpu, "memory": memory}, limits={"memory": SUBMITTER_LIMIT})
    patch = source.job.spec.cluster.head.pod.to_dict()
    placement = {name: patch[name] for name in (*PLACEMENT, "securityContext") if name in patch}
    template = _template(source, "ray-job-submitter", _Parts(), resources, {}, placement)
    template["spec"]["restartPolicy"] = "Never"
    return template


def _common(source: PodSource, shm_size: str, resources: Resources) -> _Parts:
    """What head and workers share: the resolved job, code, volumes, credentials, scratch space and shared memory."""
    parts = _Parts(env=[{"name": name, "value": value} for name, value in COMMON_ENV.items()])
    parts.mount("mora-job", CONFIG, {"configMap": {"name": source.config_map}}, read_only=True)
    parts.mount("dshm", SHARED_MEMORY, {"emptyDir": {"medium": "Memory", "sizeLimit": shm_size}})
    disk = resources.limits.get(EPHEMERAL) or resources.requests.get(EPHEMERAL) or SCRATCH_SIZE
    parts.mount("scratch", SCRATCH, {"emptyDir": {"sizeLimit": disk}})
    # Numbered: names of claims and ConfigMaps may have 253 characters and dots, those of volumes may not.
    for index, claim in enumerate(source.claims):
        parts.mount(f"mora-claim-{index}", f"{VOLUMES}/{claim}", {"persistentVolumeClaim": {"claimName": claim}})
    for index, name in enumerate(source.code):
        parts.mount(f"mora-code-{index}", f"{CODE}/{name}", {"configMap": {"name": name}}, read_only=True)
    _add_credentials(parts, source.job.spec.credentials)
    return parts


def _add_credentials(parts: _Parts, given: Iterable[Credential]) -> None:
    """Secrets by reference: the operator never reads one, the kubelet hands it to the pod."""
    together: list[Object] = []
    for index, credential in enumerate(given):
        name, secret = credential.name, credential.secret_ref
        for variable, path in credentials.client_environment(credential).items():
            parts.env.append({"name": variable, "value": path})
        if credential.as_ is CredentialForm.ENV:
            selector = {"secretKeyRef": {"name": secret.name, "key": secret.key}}
            parts.env.append({"name": credentials.variable(name), "valueFrom": selector})
        elif credential.mount_path is None:
            together.append({"secret": {"name": secret.name, "items": [{"key": secret.key, "path": name}]}})
        else:
            # subPath: a file put into a folder that exists must not hide its neighbours.
            source = {"secretName": secret.name, "items": [{"key": secret.key, "path": name}], "defaultMode": 0o440}
            volume = f"mora-credential-{index}"
            parts.volumes.append({"name": volume, "secret": source})
            mount = {"name": volume, "mountPath": credential.mount_path, "subPath": name, "readOnly": True}
            parts.mounts.append(mount)
    if together:
        source = {"projected": {"sources": together, "defaultMode": 0o440}}
        parts.mount("mora-credentials", credentials.FOLDER, source, read_only=True)


def _template(
    source: PodSource, container: str, parts: _Parts, resources: Resources, default: Mapping[str, str], patch: Object
) -> Object:
    """A pod of one container. It has no command, ports, probes and restartPolicy: KubeRay adds its own where none are given,
    and its probes kill a container whose raylet hangs. A restartPolicy other than Never would forbid its autoscaler."""
    cluster = source.job.spec.cluster
    requests, limits = dict(resources.requests), dict(resources.limits)
    if not requests and not limits:
        requests, limits = dict(default), {"memory": default["memory"]}
    spec: Object = {
        "serviceAccountName": source.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": HARDENED_POD | patch.get("securityContext", {}) | {"runAsNonRoot": True},
        "containers": [
            {
                "name": container,
                "image": source.image,
                "imagePullPolicy": cluster.image_pull_policy.value,
                "securityContext": HARDENED_CONTAINER,
                "resources": {
                    "requests": requests,
                    "limits": limits,
                    # A claim of the pod is of no use to a container that does not name it.
                    "claims": [{"name": claim["name"]} for claim in patch.get("resourceClaims", [])],
                },
                "env": _merged_env(parts.env, patch.get("env", [])),
                "envFrom": patch.get("envFrom", []),
                "volumeMounts": parts.mounts + patch.get("volumeMounts", []),
            }
        ],
        "volumes": parts.volumes + patch.get("volumes", []),
        "imagePullSecrets": [reference.to_dict() for reference in cluster.image_pull_secrets],
        **{name: patch[name] for name in PATCHED if name in patch},
    }
    # Ours come last: a label of the job's own must not take a pod out of its network policy.
    metadata = {"labels": patch.get("labels", {}) | dict(source.labels), "annotations": patch.get("annotations", {})}
    return {"metadata": _without_empty(metadata), "spec": _without_empty(spec)}


def _merged_env(ours: Iterable[Object], theirs: Iterable[Object]) -> list[Object]:
    """Each variable once. Those of ours that may not be set otherwise, blockers.py has refused before."""
    return list(({each["name"]: each for each in ours} | {each["name"]: each for each in theirs}).values())


def _without_empty(value: Any) -> Any:
    """Members without content left out; emptyDir: {} is content, hence only the template's own levels are looked at."""
    kept = {key: item for key, item in value.items() if item not in (None, [], {}, "")}
    for container in kept.get("containers", []):
        if "resources" in container:
            container["resources"] = {key: item for key, item in container["resources"].items() if item}
        for key in [key for key, item in container.items() if item in ([], {})]:
            del container[key]
    return kept
