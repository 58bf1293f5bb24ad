"""Why an attempt's pods do not come up, read from the pods and from the events about them.

The operator may not read Secrets: that one is missing shows here, and only here. Most of it cures itself when somebody
makes the missing thing, so the attempt is left alone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..times import time_of
from .conditions import clip

RECENT = timedelta(minutes=3)  # the kubelet tries a mount again after 2 minutes at most

IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})
CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError"})
REFUSED = frozenset({"FailedToCreateHeadPod", "FailedToCreateWorkerPod", "FailedCreate"})
MISSING = (
    (
        re.compile(r"secret \S+ not found|couldn't find key \S+ in secret|non-existent secret key", re.I),
        "SecretNotFound",
    ),
    (re.compile(r"configmap \S+ not found|couldn't find key \S+ in configmap", re.I), "ConfigMapNotFound"),
    (re.compile(r"persistentvolumeclaim \S+ not found", re.I), "VolumeClaimNotFound"),
    (re.compile(r"exceeded quota|forbidden: .*quota", re.I), "QuotaExceeded"),
    (re.compile(r"violates PodSecurity", re.I), "PodSecurityViolated"),
)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """`reason` and `message` as in a condition. `needs_somebody` tells that it will not go away by waiting."""

    reason: str
    message: str
    needs_somebody: bool = True


def found(pods: Iterable[Mapping[str, Any]], events: Iterable[Mapping[str, Any]], now: datetime) -> Obstacle | None:
    """The first thing that somebody has to see to, or else what is waited for; None where all is well.

    Events stay for an hour after what they tell of has been cured: those that were not told again lately do not count.
    """
    seen = [*_of_events(event for event in events if now - last_told(event) < RECENT)]
    for pod in pods:
        seen += _of_pod(pod)
    return next((each for each in seen if each.needs_somebody), seen[0] if seen else None)


def last_told(event: Mapping[str, Any]) -> datetime:
    """When an event (events.k8s.io/v1) was last seen; the kubelet and KubeRay still use the older members."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("deprecatedLastTimestamp"), event.get("eventTime"))
    return time_of(next(time for time in (*times, event["metadata"].get("creationTimestamp")) if time))


def was_killed_for_memory(pod: Mapping[str, Any]) -> bool:
    """Whether a container of the pod ran into its memory limit, now or before it was started anew."""
    containers = (pod.get("status") or {}).get("containerStatuses") or []
    ends = [(each.get(when) or {}).get("terminated") or {} for each in containers for when in ("state", "lastState")]
    return any(end.get("reason") == "OOMKilled" for end in ends)


def waits(pod: Mapping[str, Any]) -> bool:
    """Whether events tell more about this pod: it is placed, and its containers have not been made."""
    return (pod.get("status") or {}).get("phase") == "Pending"


def _of_pod(pod: Mapping[str, Any]) -> Iterator[Obstacle]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = condition.get("message", "")
            reason = _missing(message)
            yield Obstacle(reason or "PodsUnschedulable", clip(f"{name}: {message}"), reason is not None)
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in IMAGE:
            yield Obstacle("ImagePullFailed", clip(f"{name}: {container.get('image', '')}: {message or reason}"))
        elif reason in CONFIG:
            yield Obstacle(_missing(message) or "ContainerConfigInvalid", clip(f"{name}: {message or reason}"))


def _of_events(events: Iterable[Mapping[str, Any]]) -> Iterator[Obstacle]:
    for event in events:
        note, about = event.get("note", ""), (event.get("regarding") or {}).get("name", "")
        reason = _missing(note)
        if event.get("reason") == "FailedMount" and reason:
            yield Obstacle(reason, clip(f"{about}: {note}"))
        elif event.get("reason") in REFUSED:
            yield Obstacle(reason or "PodsRefused", clip(f"{about}: {note}"))


def _missing(message: str) -> str | None:
    return next((reason for pattern, reason in MISSING if pattern.search(message)), None)
