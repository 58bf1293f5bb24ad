"""The drivers without Ray: engines, rewards, trainings and exports are the real ones, in this process instead of actors."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import pytest

from mora_jobs import api
from mora_jobs.align import driver as alignment
from mora_jobs.align import evaluate
from mora_jobs.align.notes import Desire
from mora_jobs.align.online import rollouts as online
from mora_jobs.align.points import export, point_model
from mora_jobs.align.worker import train_all
from mora_jobs.api.inputs import EngineType
from mora_jobs.engines.base import Completion, Request
from mora_jobs.engines.choice import Choice, load_engine
from mora_jobs.rewards import pool as rewards
from mora_jobs.rewards.load import load
from mora_jobs.rewards.workers import Threads
from mora_jobs.rollout import driver as rollout


class Engines:
    """Stands for EnginePool."""

    def __init__(self, model, engine, sampling, replicas=1, credentials=(), variants=()) -> None:
        self._engine, self._sampling = (
            load_engine((model, *variants), engine, Choice(EngineType.TRANSFORMERS, False)),
            sampling,
        )

    def __enter__(self) -> "Engines":
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run(self._engine.close())

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        async def all_of(given: Sequence[Request]) -> list[Completion]:
            return await asyncio.gather(*(self._engine.generate(each, self._sampling) for each in given))

        yield from asyncio.run(all_of(list(requests)))

    def renew(self, model: api.ModelRef, timeout: float) -> None:
        asyncio.run(self._engine.renew((model,)))


def run_in_this_process(patch: pytest.MonkeyPatch) -> None:
    """Let the drivers of RolloutJob and AlignmentJob do all of their work here."""
    for module in (rollout, evaluate, online):
        patch.setattr(module, "EnginePool", Engines)
    for module in (rewards, online):
        patch.setattr(module, "connect", lambda: None)
    patch.setattr(online, "total", lambda resource: 0.0)
    patch.setattr(rewards, "Actors", lambda group, import_paths, *_: Threads(load(group, import_paths), group))
    for module in (rollout, alignment):
        patch.setattr(module, "check_callables", lambda rewards, import_paths: None)  # scoring imports them soon after
    patch.setattr(
        alignment, "run_trainings", lambda plan, *_: train_all([*plan.tasks.values()], lambda note: Desire.CONTINUE)
    )
    patch.setattr(alignment, "hand_over", _hand_over)


def _hand_over(store, spec, plan, point) -> api.ModelRef:
    export(store.uri, spec, plan.tasks, point)
    return point_model(store, spec, point)
