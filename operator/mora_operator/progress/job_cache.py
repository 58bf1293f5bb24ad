"""Jobs as the progress endpoint needs them: read one by one and kept for a while. The watches run on the leader only."""

import asyncio
from collections import OrderedDict

from ..kube.client import Kube, NotFound
from ..packed import PackedJob
from ..resources import JobKey, Object

SIZE = 5_000


class JobCache:
    """At most SIZE jobs, none older than `seconds`. Our own writes go in too, so that a busy job is hardly ever read."""

    def __init__(self, kube: Kube, seconds: float) -> None:
        self._kube = kube
        self._seconds = seconds
        self._jobs: OrderedDict[JobKey, tuple[float, PackedJob]] = OrderedDict()

    async def get(self, key: JobKey, *, fresh: bool = False) -> Object | None:
        """The job, from the API server where `fresh` or too long ago; None where there is none."""
        kept = self._jobs.get(key)
        if kept is not None and not fresh and asyncio.get_running_loop().time() < kept[0]:
            return kept[1].unpack()
        try:
            raw = await self._kube.get(key.resource, key.namespace, key.name)
        except NotFound:
            self._jobs.pop(key, None)
            return None
        self.put(key, raw)
        return raw

    def put(self, key: JobKey, raw: Object) -> None:
        """Keep a job as the API server has just sent it."""
        self._jobs[key] = (asyncio.get_running_loop().time() + self._seconds, PackedJob.of(raw, key.kind))
        self._jobs.move_to_end(key)
        if len(self._jobs) > SIZE:
            self._jobs.popitem(last=False)
