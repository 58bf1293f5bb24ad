"""Pod patches that somebody might try, each with what becomes of it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Patch:
    """`outcome`: refused by the schema, a reason of Stalled, or harmless."""

    name: str
    outcome: str
    spec: dict[str, Any]


def pod(name: str, outcome: str, **patch: Any) -> Patch:
    """The same patch of head and workers."""
    return Patch(name, outcome, {"cluster": {"head": {"pod": patch}, "workers": {"pod": patch}}})


def resources(name: str, outcome: str, requests: dict[str, Any], limits: dict[str, Any]) -> Patch:
    amounts = {"resources": {"requests": requests, "limits": limits}}
    return Patch(name, outcome, {"cluster": {"head": amounts, "workers": amounts}})


def credential(what: str, outcome: str, **members: Any) -> Patch:
    given = {"name": "c", "secretRef": {"name": "s", "key": "k"}} | members
    return Patch(what, outcome, {"credentials": [given]})


def security(name: str, outcome: str, **context: Any) -> Patch:
    return pod(name, outcome, securityContext=context)


def volume(kind: str, outcome: str, source: Any) -> Patch:
    return pod(f"volume {kind}", outcome, volumes=[{"name": "v", kind: source}])


def mount(path: str, outcome: str, **members: Any) -> Patch:
    mounts = [{"name": "v", "mountPath": path} | members]
    return pod(f"mount {path} {members}", outcome, volumes=[{"name": "v", "emptyDir": {}}], volumeMounts=mounts)


def env(name: str, outcome: str, **members: Any) -> Patch:
    return pod(f"env {name} {members}", outcome, env=[{"name": name} | (members or {"value": "x"})])


CLAIM = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
TOKEN = {"sources": [{"serviceAccountToken": {"path": "token", "audience": "mora.dev/other"}}]}
LONGEST = ".".join(["x" * 61] * 4)[:253]

PATCHES = [
    # security contexts
    security("root", "refused", runAsUser=0),
    security("may be root", "refused", runAsNonRoot=False),
    security("no seccomp", "refused", seccompProfile={"type": "Unconfined"}),
    security("sysctls", "refused", sysctls=[{"name": "kernel.msgmax", "value": "1"}]),
    security("windows", "refused", windowsOptions={"hostProcess": True}),
    security("no apparmor", "refused", appArmorProfile={"type": "Unconfined"}),
    security("selinux user", "refused", seLinuxOptions={"user": "system_u"}),
    security("selinux type", "refused", seLinuxOptions={"type": "spc_t"}),
    security("selinux allowed", "harmless", seLinuxOptions={"type": "container_t", "level": "s0:c123,c456"}),
    security("root's group", "harmless", runAsGroup=0, fsGroup=0, supplementalGroups=[0]),
    security("another user", "harmless", runAsUser=2_147_483_647, fsGroupChangePolicy="Always"),
    # members of a pod that are no patch
    pod("host network", "refused", hostNetwork=True),
    pod("host pid", "refused", hostPID=True),
    pod("another account", "refused", serviceAccountName="admin"),
    pod("its token", "refused", automountServiceAccountToken=True),
    pod("containers", "refused", containers=[{"name": "x", "image": "i"}]),
    pod("init containers", "refused", initContainers=[{"name": "x", "image": "i"}]),
    pod("a node", "refused", nodeName="node-1"),
    # volumes
    volume("hostPath", "refused", {"path": "/"}),
    volume("nfs", "refused", {"server": "s", "path": "/"}),
    volume("iscsi", "refused", {"targetPortal": "t", "iqn": "i", "lun": 0}),
    volume("image", "refused", {"reference": "i"}),
    volume("gitRepo", "refused", {"repository": "r"}),
    volume("emptyDir", "harmless", {"medium": "Memory", "sizeLimit": "999999999999Ei"}),
    volume("configMap", "harmless", {"name": LONGEST}),
    volume("configMap", "refused", {"name": "a..b"}),
    volume("secret", "harmless", {"secretName": "s", "defaultMode": 511}),
    volume("persistentVolumeClaim", "harmless", {"claimName": "data"}),
    volume("csi", "harmless", {"driver": "secrets-store.csi.k8s.io", "volumeAttributes": {"uri": "pvc://x/y"}}),
    volume("ephemeral", "harmless", {"volumeClaimTemplate": CLAIM}),
    volume("projected", "harmless", TOKEN),
    volume("downwardAPI", "harmless", {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}),
    pod("two kinds at once", "refused", volumes=[{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]),
    pod("one name twice", "refused", volumes=[{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]),
    *[
        pod(f"our volume {name}", "PodPatchConflict", volumes=[{"name": name, "emptyDir": {}}])
        for name in ("dshm", "scratch", "mora-job", "mora-progress", "mora-claim-0", "mora-anything")
    ],
    # mounts
    mount("/etc/mora", "PodPatchConflict"),
    mount("/etc/mora/", "PodPatchConflict"),
    mount("/etc/../etc/mora/ca.crt", "PodPatchConflict"),
    mount("/", "PodPatchConflict"),
    mount("/var/run/secrets", "PodPatchConflict"),
    mount("/var/run/secrets/mora-progress/token", "PodPatchConflict"),
    mount("/dev/shm", "PodPatchConflict"),
    mount("/dev", "PodPatchConflict"),
    mount("/tmp", "PodPatchConflict"),
    mount("/tmp/ray", "harmless"),
    mount("/mnt/mora/volumes/data", "PodPatchConflict"),
    mount("/var/run/secrets/kubernetes.io/serviceaccount", "harmless"),
    mount("etc/mora", "refused"),
    mount("/a:/b", "refused"),
    mount("/x", "refused", mountPropagation="Bidirectional"),
    mount("/x", "refused", subPath="/etc"),
    mount("/x", "refused", subPath="../../etc"),
    mount("/x", "refused", subPath="a", subPathExpr="b"),
    mount("/x", "harmless", subPath="a/..b"),
    pod("mount twice", "PodPatchConflict", volumeMounts=[{"name": "dshm", "mountPath": "/x"}] * 2),
    pod("mount nothing", "PodPatchConflict", volumeMounts=[{"name": "absent", "mountPath": "/x"}]),
    pod("mount our token", "PodPatchConflict", volumeMounts=[{"name": "mora-progress", "mountPath": "/x"}]),
    pod("mount scratch", "harmless", volumeMounts=[{"name": "scratch", "mountPath": "/x", "subPath": "y"}]),
    # variables
    env("KUBEFLOW_TRAINER_SERVER_TOKEN", "PodPatchConflict"),
    env("KUBEFLOW_TRAINER_SERVER_URL", "PodPatchConflict"),
    env("KUBEFLOW_TRAINER_SERVER_CA_CERT", "PodPatchConflict"),
    env("RAY_AUTH_MODE", "PodPatchConflict"),
    env("RAY_AUTH_TOKEN", "PodPatchConflict", valueFrom={"secretKeyRef": {"name": "s", "key": "k"}}),
    env("RAY_REDIS_ADDRESS", "PodPatchConflict"),
    env("RAY_enable_autoscaler_v2", "PodPatchConflict"),
    env("KUBERAY_GEN_RAY_START_CMD", "PodPatchConflict"),
    env("PYTHONUNBUFFERED", "harmless"),
    env("LD_PRELOAD", "harmless"),
    env("A b", "refused"),
    env("A", "refused", valueFrom={}),
    env("A", "refused", valueFrom={"fieldRef": {"fieldPath": "metadata.name"}}, value="x"),
    env("A", "harmless", valueFrom={"fieldRef": {"fieldPath": "spec.nodeName"}}),
    env("A", "harmless", valueFrom={"resourceFieldRef": {"resource": "limits.memory"}}),
    pod("one variable twice", "refused", env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
    pod("all of a secret", "harmless", envFrom=[{"prefix": "RAY_", "secretRef": {"name": "s"}}]),
    # labels and annotations
    pod("our labels", "harmless", labels={"mora.dev/name": "other", "app.kubernetes.io/managed-by": "me"}),
    pod("the operator's labels", "harmless", labels={"app.kubernetes.io/name": "mora-operator"}),
    pod("KubeRay's labels", "PodPatchConflict", labels={"ray.io/node-type": "worker"}),
    pod("KubeRay's annotations", "PodPatchConflict", annotations={"ray.io/overwrite-container-cmd": "true"}),
    pod(
        "no apparmor by annotation",
        "PodPatchConflict",
        annotations={"container.apparmor.security.beta.kubernetes.io/ray-head": "unconfined"},
    ),
    pod("long label", "refused", labels={"x" * 64: "a"}),
    pod("longest label", "harmless", labels={f"{'x' * 189}/{'y' * 63}": "z" * 63}),
    pod("odd prefix", "refused", labels={"a..b/c": "d"}),
    pod("many annotations", "harmless", annotations={f"a{index}": "x" * 2048 for index in range(64)}),
    # placement
    pod("odd node label", "refused", nodeSelector={"a//b": "c"}),
    pod("toleration of everything", "harmless", tolerations=[{"operator": "Exists"}]),
    pod("toleration of nothing", "refused", tolerations=[{}]),
    pod("toleration with a value", "refused", tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
    pod("toleration with an odd key", "refused", tolerations=[{"key": "a b", "operator": "Exists"}]),
    pod("toleration for a time", "refused", tolerations=[{"key": "a", "operator": "Exists", "tolerationSeconds": 1}]),
    pod(
        "spread",
        "harmless",
        topologySpreadConstraints=[
            {
                "maxSkew": 1,
                "topologyKey": "zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "minDomains": 2,
                "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
            }
        ],
    ),
    pod(
        "spread by odd labels",
        "refused",
        topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "a b", "whenUnsatisfiable": "DoNotSchedule"}],
    ),
    pod("classes", "harmless", priorityClassName="high", runtimeClassName="nvidia", schedulerName="volcano"),
    pod("at once", "harmless", terminationGracePeriodSeconds=0),
    pod("device", "harmless", resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "gpus"}]),
    # amounts
    resources("huge", "harmless", {}, {"cpu": "9" * 16, "memory": "9" * 15 + "Ei"}),
    resources("tiny", "harmless", {"cpu": "1m", "memory": "1"}, {"cpu": "0.001"}),
    resources("zero", "harmless", {}, {"nvidia.com/gpu": 0}),
    resources("half a device", "InvalidResources", {}, {"nvidia.com/gpu": "500m"}),
    resources("device unlimited", "InvalidResources", {"nvidia.com/gpu": 1}, {}),
    resources("device more", "InvalidResources", {"nvidia.com/gpu": 1}, {"nvidia.com/gpu": 2}),
    resources("device equal", "harmless", {"nvidia.com/gpu": "1"}, {"nvidia.com/gpu": "1000m"}),
    resources("more than the limit", "InvalidResources", {"cpu": "2001m"}, {"cpu": 2}),
    resources("no such thing", "InvalidResources", {}, {"gpu": 1}),
    resources("odd name", "InvalidResources", {}, {"a b/c": 1}),
    resources("prefix of requests", "InvalidResources", {}, {"requests.nvidia.com/gpu": 1}),
    resources("kubernetes' own", "InvalidResources", {}, {"kubernetes.io/gpu": 1}),
    resources("odd pages", "InvalidResources", {}, {"hugepages-x": 1, "cpu": 1}),
    resources("another vendor's", "harmless", {}, {"example.com/fpga.v2": 1}),
    resources("negative", "refused", {}, {"cpu": "-1"}),
    resources("huge pages", "harmless", {}, {"hugepages-2Mi": "4Mi", "memory": "1Gi"}),
    resources("huge pages alone", "InvalidResources", {}, {"hugepages-2Mi": "4Mi"}),
    resources("huge pages shared", "InvalidResources", {"hugepages-2Mi": "2Mi"}, {"hugepages-2Mi": "4Mi", "cpu": 1}),
    # credentials
    credential("credential over our configuration", "CredentialConflict", mountPath="/etc/mora/ca.crt"),
    credential("credential over everything", "CredentialConflict", mountPath="/"),
    credential("credential with a colon", "refused", mountPath="/a:b"),
    credential(
        "credential as our variable", "CredentialConflict", name="kubeflow-trainer-server-token", **{"as": "Env"}
    ),
    credential("credential below home", "harmless", mountPath="/home/ray/.aws/credentials"),
    credential("credential with a long name", "harmless", name="c" * 63),
    # others
    Patch("image with spaces", "refused", {"cluster": {"image": " i"}}),
    Patch("odd claim", "InvalidClaim", {"output": {"uri": "pvc://../x"}}),
    Patch("odd account", "refused", {"cluster": {"serviceAccountName": "a..b"}}),
]
