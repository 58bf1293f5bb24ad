"""How a credential of a job reaches its processes: as a file or an environment variable, in a cluster and locally.

In a cluster the kubelet puts the Secret's key into a file or a variable; `mora run` takes it from the variable
MORA_CREDENTIAL_<NAME>. Four names are known to clients: `hf`, `s3`, `gs` and `az`.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from .cluster import Credential, CredentialForm

FOLDER = "/var/run/secrets/mora"
"""Where files appear in a pod that give no mountPath."""
CLIENT_FILES = {
    "hf": "HF_TOKEN_PATH",
    "s3": "AWS_SHARED_CREDENTIALS_FILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}
"""Variables by which clients find a credential's file: a hub token, an AWS credentials file, a service account key."""
CLIENT_VALUES = {"hf": "HF_TOKEN", "az": "AZURE_STORAGE_CONNECTION_STRING"}
"""Variables by which clients take a credential's value."""


def variable(name: str) -> str:
    """The variable of a credential `as: Env`."""
    return name.upper().replace("-", "_")


def local_variable(name: str) -> str:
    """The variable in which `mora run` is given a credential."""
    return f"MORA_CREDENTIAL_{variable(name)}"


def path(credential: Credential) -> str:
    """The file of a credential `as: File`, in a pod."""
    return credential.mount_path or f"{FOLDER}/{credential.name}"


def client_environment(credential: Credential, file: str | None = None) -> dict[str, str]:
    """Variables without secrets in them that lead a known client to the credential's `file`; {} for other names."""
    known = CLIENT_FILES.get(credential.name)
    return {known: file or path(credential)} if known and credential.as_ is CredentialForm.FILE else {}


def read(credentials: Iterable[Credential], name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The value of the credential `name`, or None when there is none or it is not there."""
    credential = next((each for each in credentials if each.name == name), None)
    if credential is None:
        return None
    value = environment.get(local_variable(name))
    if value is None and credential.as_ is CredentialForm.ENV:
        value = environment.get(variable(name))
    if value is None and credential.as_ is CredentialForm.FILE:
        try:
            value = Path(path(credential)).read_text()
        except OSError:
            return None
    return None if value is None else value.strip()
