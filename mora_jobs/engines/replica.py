"""The driver's side of one engine actor: what it holds, the one call under way, and its life after death."""

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from mora_jobs import api
from mora_jobs.engines.base import EngineInfo
from mora_jobs.engines.endpoint import EndpointReplica
from mora_jobs.engines.host import Broken, EngineHost, Result
from mora_jobs.engines.placement import Placement
from mora_jobs.engines.window import Weighed, Window
from mora_jobs.errors import UserError

MAX_DEATHS = 3  # in a row, without one result between them
GENTLE_SECONDS = 20.0
_log = logging.getLogger(__name__)


class EngineDied(Exception):
    """An engine died again and again without getting anything done: not a mistake in the manifest, as far as we know."""


class Replica:
    """One engine actor.

    `info` is None until the model is loaded. `call` is the Ray call under way (the start, or an exchange of work for
    results), None when it has nothing to do.
    """

    def __init__(self, arguments: tuple[Any, ...], placement: Placement, env: dict[str, str]) -> None:
        self._arguments, self._env = arguments, env
        self._options = dict(placement.options)
        self._group: Any = None
        if placement.bundles:
            self._group = placement_group([dict(each) for each in placement.bundles], strategy="PACK")
            self._options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                self._group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
            )
        self._needs = placement.bundles or {key: self._options.get(key, 0) for key in ("num_cpus", "num_gpus")}
        self._window = Window()
        self._deaths = 0
        self.info: EngineInfo | None = None
        self.call: Any = None
        self._start()

    @property
    def load(self) -> int:
        """Samples in flight."""
        return self._window.load

    @property
    def idle(self) -> bool:
        """Ready, and with no call under way: work can be sent."""
        return self.info is not None and self.call is None

    def send(self, batch: Sequence[Weighed]) -> None:
        """Give it work, if any, and ask for what finishes."""
        self._window.add(batch)
        if self.load:
            self.call = self._actor.exchange.remote(self._turn, [work for work, _ in batch])

    def receive(self) -> tuple[list[Result], list[Weighed]]:
        """The results that the ended call brought, and the work that must be done again because the engine died.

        Raises UserError where the engine found one, EngineDied when starting it again is of no use.
        """
        call, self.call = self.call, None
        try:
            answer = ray.get(call)
        except RayError as error:
            return [], self._die(_why(error))
        if isinstance(answer, UserError):
            raise answer
        if isinstance(answer, Broken):
            return [], self._die(answer.reason)
        if isinstance(answer, EngineInfo):
            self.info = answer
            return [], []
        results, broken = self._window.settle(answer)
        if results:
            self._deaths = 0
        return results, self._die(broken) if broken else []

    def forget(self) -> None:
        """Stop what is in flight; afterwards it is idle, or starting."""
        self._window.clear()
        if self.info is None or self.call is None:
            return
        call, self.call = self.call, None
        self._turn += 1
        try:
            ray.get([self._actor.forget.remote(self._turn), call], timeout=GENTLE_SECONDS)
        except RayError as error:
            self._die(_why(error))

    def renew(self, models: Sequence[api.ModelRef]) -> None:
        """Answer from `models` from now on; `info` is None until they are loaded. A start that is under way begins anew."""
        self._arguments = (tuple(models), *self._arguments[1:])
        if self.idle:
            self.info = None
            self._started = time.monotonic()
            self.call = self._actor.renew.remote(models)
        else:
            ray.kill(self._actor)
            self._start()

    def explain_wait(self) -> None:
        """Say in the log why there is no engine yet, when its start takes long."""
        waited = time.monotonic() - self._started
        if self.info is None and waited > 60:
            cluster = {name: ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU")}
            _log.warning(
                "an engine is not ready after %.0f s; it needs %s, the cluster has %s", waited, self._needs, cluster
            )

    def close(self, gently: bool) -> None:
        """End the actor and return only when it is gone, so that the next engine finds its memory free."""
        try:
            if gently and self.info is not None:
                ray.get(self._actor.stop.remote(), timeout=GENTLE_SECONDS)
            ray.kill(self._actor)
            ray.get(self._actor.forget.remote(0), timeout=GENTLE_SECONDS)
        except RayError:
            pass  # dead, which is what we want
        if self._group is not None:
            remove_placement_group(self._group)

    def _start(self) -> None:
        self.info = None
        self._turn = 0
        self._started = time.monotonic()
        host = ray.remote(EngineHost).options(
            runtime_env={"env_vars": self._env}, max_restarts=0, max_task_retries=0, **self._options
        )
        self._actor: Any = host.remote(*self._arguments)
        self.call = self._actor.start.remote()

    def _die(self, reason: str) -> list[Weighed]:
        """Start a new actor in place of this one; gives the work that it held."""
        self._deaths += 1
        orphans = self._window.clear()
        if self._deaths > MAX_DEATHS:
            at_work = f" with {len(orphans)} prompts in flight" if orphans else " while it started"
            raise EngineDied(f"an engine died {self._deaths} times in a row{at_work}: {reason}")
        _log.warning("an engine died (%s); it is started again and gets its %d prompts again", reason, len(orphans))
        ray.kill(self._actor)
        self._start()
        return orphans


def ready(
    replicas: Sequence[Replica] | Sequence[EndpointReplica], patience: float = math.inf
) -> list[Replica] | list[EndpointReplica]:
    """Those whose call has ended; blocks until there is one, or for `patience` seconds, after which there may be none."""
    end = time.monotonic() + patience
    calls = {each.call: each for each in replicas if isinstance(each, Replica) and each.call is not None}
    if not calls:
        return [each for each in replicas if isinstance(each, EndpointReplica) and each.call is not None]
    while True:
        left = max(0.0, end - time.monotonic())
        first, rest = ray.wait(list(calls), num_returns=1, timeout=min(60, left))
        if first:
            more, _ = ray.wait(rest, num_returns=len(rest), timeout=0) if rest else ([], [])
            return [calls[call] for call in first + more]
        if left <= 60:
            return []
        for replica in calls.values():
            replica.explain_wait()


def _why(error: RayError) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
