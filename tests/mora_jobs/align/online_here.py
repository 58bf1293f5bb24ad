"""Online trainings in this process: a real engine without an actor around it, and rewards that are functions of the text."""

import asyncio
import json
from pathlib import Path
from typing import Any

from align_jobs import REWARDS, alignment

from mora_jobs import api
from mora_jobs.align.evaluate import Measurement
from mora_jobs.align.online import rollouts
from mora_jobs.align.online.prompts import CALIBRATION, PROMPTS
from mora_jobs.align.online.sampler import Sampler
from mora_jobs.align.task import Task
from mora_jobs.artifacts.document import write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.engines.transformers import TransformersEngine
from mora_jobs.rewards.calibration import Calibration

SCORES = {
    "helpful": lambda text: len(set(text)) % 9 / 8,
    "harmless": lambda text: len(text) % 7 / 6,
    "truthful": lambda text: None if len(text) % 5 == 0 else sum(map(ord, text)) % 11 / 10,
}


class EnginesHere:
    """In the place of an EnginePool."""

    def __init__(self, model: api.ModelRef, engine: api.Engine, sampling: api.Sampling, *_: Any, **__: Any) -> None:
        self._engine, self._sampling = TransformersEngine([model], engine), sampling

    def __enter__(self) -> "EnginesHere":
        return self

    def __exit__(self, *_: Any) -> None:
        asyncio.run(self._engine.close())

    def generate(self, requests: Any) -> list[Any]:
        async def all_of_them() -> list[Any]:
            return list(await asyncio.gather(*(self._engine.generate(each, self._sampling) for each in requests)))

        return asyncio.run(all_of_them())

    def renew(self, model: api.ModelRef, timeout: float) -> None:
        asyncio.run(self._engine.renew([model]))


class RewardsHere:
    """In the place of a RewardPool."""

    def __init__(self, rewards: Any, *_: Any, **__: Any) -> None:
        self._names = [reward.name for reward in rewards]

    def __enter__(self) -> "RewardsHere":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def score(self, items: Any) -> dict[str, list[float | None]]:
        return {name: [SCORES[name](item.response) for item in items] for name in self._names}


def without_ray() -> None:
    """For a process that does nothing else afterwards; tests use monkeypatch."""
    for name, value in REPLACED.items():
        setattr(rollouts, name, value)


REPLACED = {
    "EnginePool": EnginesHere,
    "RewardPool": RewardsHere,
    "connect": lambda: None,
    "total": lambda resource: 0.0,
}


def online_task(
    folder: Path,
    model: Path,
    method: dict[str, Any],
    weights: tuple[float, ...] = (0.5, 0.5),
    frozen: tuple[str, ...] = (),
    prompts: int = 3,
    **spec: Any,
) -> Task:
    """A training that samples four responses of at most six tokens to each prompt."""
    root = f"file://{folder}"
    store = Store(root)
    table = Table(store.child("online"), "prompts", PROMPTS)
    rows = [
        {"id": f"q{n}", "messages": json.dumps([{"role": "user", "content": f"what is {n}?"}]), "fields": "{}"}
        for n in range(prompts)
    ]
    table.append(rows)
    straight = Calibration.fit({name: [n / 20 for n in range(21)] for name in REWARDS}, set())
    write_json(store, CALIBRATION, straight.to_json())
    rewards = [{"name": name, "python": {"callable": f"none:{name}"}} for name in REWARDS]
    sampling = {"samplesPerPrompt": 4, "maxTokens": 6}
    objectives = [{"name": name} for name in REWARDS[: len(weights)]]
    job = alignment(root, model, objectives=objectives, method=method, onlinePrompts={"uri": "file:///unused"}, **spec)
    how = Measurement(
        rewards=tuple(api.Reward.model_validate(reward) for reward in rewards),
        engine=api.Engine.model_validate({"type": "Transformers", "dtype": "Float32"}),
        sampling=api.Sampling.model_validate(sampling),
        replicas=1,
    )
    sampler = Sampler(how, (), "sha256:straight")
    return Task("policy", root, job.spec, job.spec.model, frozen, None, weights, "", table.digest(), sampler=sampler)
