"""Looks at the pods of an attempt that does not come up or has failed, and at the events about them. The leader does."""

from datetime import datetime

from ..plan.obstacles import Obstacle, found, waits, was_killed_for_memory
from ..plan.rayjobs import RayJob, Stage
from ..resources import ATTEMPT_LABEL, EVENTS, KIND_LABEL, NAME_LABEL, PODS, Object
from ..times import time_of
from .client import Kube

PATIENCE_SECONDS = 20.0  # a cluster that comes up by then is not asked about
LOOK_SECONDS = 30.0


class Inspector:
    """Asks the API server, because watching all pods and events of a cluster would cost far more than these few reads."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def obstacle(self, rayjob: RayJob | None, now: datetime) -> Obstacle | None:
        """What keeps the attempt's pods from coming up, as far as can be seen."""
        if rayjob is None or rayjob.stage is not Stage.PROVISIONING or rayjob.deleting:
            return None
        if (now - time_of(rayjob.begun_at or rayjob.created)).total_seconds() < PATIENCE_SECONDS:
            return None
        pods = await self._pods(rayjob)
        about = [pod["metadata"]["name"] for pod in pods if waits(pod)][:1]
        about += [rayjob.cluster_name] if rayjob.cluster_name else []
        events: list[Object] = []
        for name in about:
            fields = f"regarding.name={name},type=Warning"
            events += [event async for event in self._kube.list_all(EVENTS, rayjob.namespace, fields=fields)]
        return found(pods, events, now)

    async def out_of_memory(self, rayjob: RayJob | None) -> str:
        """Name of a pod of an attempt that failed, a container of which was killed at its memory limit; "" if there is none."""
        if rayjob is None or rayjob.stage is not Stage.FAILED or rayjob.deleting:
            return ""
        return next((pod["metadata"]["name"] for pod in await self._pods(rayjob) if was_killed_for_memory(pod)), "")

    async def _pods(self, rayjob: RayJob) -> list[Object]:
        labels = {KIND_LABEL: rayjob.owner_kind, NAME_LABEL: rayjob.owner_name, ATTEMPT_LABEL: str(rayjob.attempt)}
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        return [pod async for pod in self._kube.list_all(PODS, rayjob.namespace, selector)]
