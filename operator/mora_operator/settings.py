"""Settings of the operator: one flag each, with an environment variable as its default (see `--help`)."""

import argparse
import os
from collections.abc import Mapping, Sequence
from socket import gethostname
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError


def _names(text: Any) -> Any:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if isinstance(text, str) else text


def _labels(text: Any) -> Any:
    return dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair) if isinstance(text, str) else text


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Labels = Annotated[dict[str, str], BeforeValidator(_labels), Field(min_length=1)]
DNS_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseModel):
    """What an installation decides. Flags are the field names with dashes, variables `MORA_` and the name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    namespaces: Names = ()
    """Namespaces to serve, separated by commas; all of them when empty."""
    installation: Annotated[str, Field(pattern=DNS_NAME, max_length=200)] = "mora-operator"
    """Name of this installation, for its Lease and its list of authorities: replicas that share it share the work."""
    instance: Annotated[str, Field(pattern=DNS_NAME, max_length=253)] = gethostname().lower()
    """Name of this replica, its pod's: who restarts under the same name goes on leading at once."""
    operator_namespace: str = "mora-system"
    """Namespace that the operator runs in; jobs' network policies open the way to its progress endpoint."""
    runtime_image: str = ""
    """Image of jobs that name none; it holds Ray and mora_jobs."""
    ray_version: str = "2.60.0"
    """Version of Ray in that image."""
    submitter_cpu: str = "200m"
    """CPU request of the pod that submits a driver to its Ray cluster."""
    submitter_memory: str = "256Mi"
    """Memory request of that pod; its limit is 1Gi."""
    kuberay_labels: Labels = {"app.kubernetes.io/component": "kuberay-operator"}
    """Labels of KubeRay's pods, which may reach the dashboard of a job's Ray cluster."""
    kuberay_namespace: str = ""
    """Namespace that KubeRay runs in; its labels count in any namespace when empty."""
    operator_labels: Labels = {"app.kubernetes.io/name": "mora-operator"}
    """Labels of this operator's pods, which jobs may reach to report progress."""
    progress_host: str = "mora-operator.mora-system.svc"
    """Host name under which jobs reach the progress endpoint; its certificate is made for it."""
    progress_port: Port = 8443
    """Port of the progress endpoint."""
    progress_interval_seconds: Annotated[float, Field(ge=0)] = 15.0
    """Least time between two writes of a job's progress into its status; its last report is written at once."""
    health_port: Port = 8080
    """Port of /healthz, /readyz and /metrics."""
    workers: Annotated[int, Field(ge=1, le=256)] = 16
    """Jobs that are reconciled at the same time."""
    suspend_grace_seconds: Annotated[float, Field(ge=0)] = 120.0
    """Time that a driver has to save its work when its job is suspended; then its cluster goes."""
    resync_seconds: Annotated[float, Field(ge=1)] = 300.0
    """How often the RayJob of an active job is read again, in case that an event was lost."""
    discovery_seconds: Annotated[float, Field(ge=1)] = 600.0
    """How often all jobs are listed anew, and it is looked whether KubeRay or Kueue are there in another version."""
    progress_writes_per_second: Annotated[float, Field(ge=1)] = 30.0
    """Most writes of progress that a replica makes; with many jobs each one's is written less often."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Read flags over environment variables over defaults. A bad one ends the program with a usage line (exit 2)."""
    parser = argparse.ArgumentParser(prog="mora-operator", description="The MORA operator.")
    for name, field in Settings.model_fields.items():
        parser.add_argument(
            "--" + name.replace("_", "-"),
            metavar="VALUE",
            help=f"{field.description} [{_variable(name)}; default: {_shown(field.default)}]".replace("%", "%%"),
        )
    given = vars(parser.parse_args(arguments))
    for name in Settings.model_fields:
        if given[name] is None:
            given[name] = environment.get(_variable(name))
    try:
        return Settings.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        parser.error(f"{flag}: {first['msg']} (got {first['input']!r})")


def _shown(default: Any) -> str:
    """A default as it would be given."""
    if isinstance(default, Mapping):
        return ",".join(f"{key}={value}" for key, value in default.items())
    return str(default) if default else "none"


def _variable(name: str) -> str:
    return "MORA_" + name.upper()
