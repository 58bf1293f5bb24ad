"""What render() makes of a job, kind by kind and pod by pod."""

from typing import Any

from attempts import CA, RAYJOB_UID, schema
from builders import KEY, SETTINGS, UID

from mora_jobs.api import Job
from mora_operator.render.objects import Attempt, config_map, render
from mora_operator.resources import JobKey
from mora_operator.settings import Settings


def objects(
    job: Job, index: int = 1, references: tuple[Job, ...] = (), settings: Settings = SETTINGS, key: JobKey = KEY
) -> dict[str, Any]:
    """All objects of an attempt by kind, for the newest KubeRay."""
    attempt = Attempt(key, UID, job, index, references)
    made = {resource.kind: body for resource, body in render(attempt, settings, schema())}
    return made | {"ConfigMap": config_map(attempt, CA, RAYJOB_UID)}


def variables(template: dict[str, Any]) -> dict[str, Any]:
    """Environment variables of a pod."""
    return {
        each["name"]: each.get("value", each.get("valueFrom")) for each in template["spec"]["containers"][0]["env"]
    }


def mounts(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Mounts of a pod by path."""
    return {each["mountPath"]: each for each in template["spec"]["containers"][0]["volumeMounts"]}
