"""What is ours in a pod: folders, and names of volumes and variables that a manifest must not take."""

from mora_jobs.api import credentials
from mora_jobs.api.progress import CA_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE

CONFIG = "/etc/mora"
JOB_FILE = f"{CONFIG}/job.json"
CA_FILE = f"{CONFIG}/ca.crt"
CODE = "/etc/mora-code"
TOKEN = "/var/run/secrets/mora-progress"
VOLUMES = "/mnt/mora/volumes"
"""Folder under which the claims of pvc:// URIs are mounted, each under its own name."""
SCRATCH = "/tmp"
SHARED_MEMORY = "/dev/shm"

CLOSED_FOLDERS = (CONFIG, CODE, TOKEN, VOLUMES, credentials.FOLDER)
"""Nothing may be mounted over them, nor inside them: most are read-only, and a mount point could not be made."""
OPEN_FOLDERS = (SCRATCH, SHARED_MEMORY)
"""Nothing may be mounted over them; inside them it may."""
OPEN_VOLUMES = ("scratch", "dshm")
"""Our volumes that a patch may mount once more elsewhere."""
VOLUME_PREFIX = "mora-"

# Ours; what KubeRay sets itself; and what changes its mind about the cluster (it then refuses the RayJob for good).
VARIABLES = frozenset(
    [
        URL_VARIABLE, CA_VARIABLE, TOKEN_VARIABLE,
        "FQ_RAY_IP", "KUBERAY_GEN_RAY_START_CMD", "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH",
        "RAY_CLOUD_INSTANCE_ID", "RAY_CLUSTER_NAME", "RAY_CLUSTER_NAMESPACE", "RAY_DASHBOARD_ADDRESS",
        "RAY_ENABLE_K8S_TOKEN_AUTH", "RAY_IP", "RAY_JOB_SUBMISSION_ID", "RAY_NODE_TYPE_NAME",
        "RAY_PORT", "RAY_REDIS_ADDRESS", "RAY_enable_autoscaler_v2", "RAY_external_storage_namespace", "REDIS_PASSWORD", "REDIS_USERNAME",
    ]
)  # fmt: skip
LABEL_PREFIX = "ray.io/"
"""KubeRay finds a cluster's pods by these, as annotations some of them keep it from starting Ray."""
SECURITY_PREFIXES = (
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
)
"""Annotations that loosen a pod's confinement."""
