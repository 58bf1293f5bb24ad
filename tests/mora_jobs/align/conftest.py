"""A finished RolloutJob without a model: rollouts of a few words whose scores are known, and a job that aligns on it."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from align_jobs import REWARDS, WORDS, alignment

from mora_jobs import api
from mora_jobs.align.pairs import PAIRS, POOLS
from mora_jobs.align.task import Task
from mora_jobs.artifacts.document import write_json
from mora_jobs.artifacts.identity import complete
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.generation.rollouts import rollout_table
from mora_jobs.generation.schemas import ANALYSIS
from mora_jobs.generation.scores import score_table
from mora_jobs.rewards.calibration import Calibration


def words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(count))


@pytest.fixture
def make_rollouts(tmp_path: Path) -> Callable[..., api.RolloutJob]:
    """Write the artifacts of a RolloutJob and return the job. `scores[prompt][rollout]` is a vector over REWARDS."""

    def make(scores: list[list[list[float | None]]], name: str = "rollout", **spec: Any) -> api.RolloutJob:
        folder = tmp_path / name
        store = Store(f"file://{folder}")
        chance = random.Random(7)
        prompts = [{"id": f"q{index}", "prompt": f"{words(chance, 4)} {index}?"} for index in range(len(scores))]
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
        names = REWARDS[: len(scores[0][0])]
        rollouts, raw = rollout_table(store), score_table(store, names)
        rollouts.append(
            [
                {
                    "id": prompt["id"],
                    "prompt": prompt["prompt"],
                    "fields": "{}",
                    "seed": 1,
                    "prompt_tokens": 9,
                    "samples": [
                        {
                            "text": f"{words(chance, 3 + n % 4)} {n}",
                            "tokens": 5,
                            "finish": "Length" if n % 3 else "Stop",
                        }
                        for n in range(len(own))
                    ],
                    "error": None,
                }
                for prompt, own in zip(prompts, scores, strict=True)
            ]
        )
        columns = [
            {"id": prompt["id"], **{reward: [vector[k] for vector in own] for k, reward in enumerate(names)}}
            for prompt, own in zip(prompts, scores, strict=True)
        ]
        raw.append(columns)
        fitted = Calibration.fit({reward: [v for row in columns for v in row[reward]] for reward in names}, set())
        write_json(store, "calibration.json", fitted.to_json())
        write_json(store, "weights.json", {"weights": {reward: 1 / len(names) for reward in names}})
        classes = Table(store, "analysis", ANALYSIS)
        kinds = ["SingleReward", "MultiReward"]
        classes.append(
            [
                {
                    "id": prompt["id"],
                    "class": kinds[index % 2],
                    "dimension": "",
                    "active": [],
                    "reach": [],
                    "spread": [],
                }
                for index, prompt in enumerate(prompts)
            ]
        )
        complete(store, {"rollouts": rollouts.digest(), "scores": raw.digest()})
        return api.RolloutJob.model_validate(
            {
                "metadata": {"name": name},
                "spec": {
                    "model": {"uri": f"file://{tmp_path}/model"},
                    "prompts": {"uri": f"file://{file}"},
                    "rewards": [
                        {"name": reward, "python": {"callable": f"align_rewards:{reward}"}} for reward in names
                    ],
                    "output": {"uri": store.uri},
                }
                | spec,
            }
        )

    return make


@pytest.fixture
def make_task(tmp_path: Path, tiny_model: Path) -> Callable[..., Task]:
    """A training on `count` random pairs, without a driver. Tasks of one folder share the pairs."""

    def make(
        folder: str = "job",
        *,
        count: int = 19,
        weights: tuple[float, ...] = (0.5, 0.5),
        signs: Callable[[random.Random], list[int]] = lambda chance: [1, chance.choice([-1, 0, 1])],
        model: Path = tiny_model,
        name: str = "policy",
        **spec: Any,
    ) -> Task:
        root = f"file://{tmp_path}/{folder}"
        table = Table(Store(root), "pairs", PAIRS)
        if not table.count():
            chance = random.Random(5)
            table.append([_pair(chance, index, signs(chance)) for index in range(count)])
        objectives = [{"name": name} for name in ("helpful", "harmless", "truthful")[: len(weights)]]
        job = alignment(root, model, objectives=objectives, pairs={"rule": "PerObjective"}, **spec)
        return Task(name, root, job.spec, job.spec.model, (), None, weights, "", table.digest())

    return make


@pytest.fixture
def make_pool_task(tmp_path: Path, tiny_model: Path) -> Callable[..., Task]:
    """A training on pools: `prompts` prompts with 4 candidates whose scores on the objectives disagree."""

    def make(folder: str = "job", *, prompts: int = 5, weights: tuple[float, ...] = (0.5, 0.5), **spec: Any) -> Task:
        root = f"file://{tmp_path}/{folder}"
        table = Table(Store(root), "pools", POOLS)
        if not table.count():
            table.append([_pool(random.Random(index), index, len(weights)) for index in range(prompts)])
        objectives = [{"name": name} for name in REWARDS[: len(weights)]]
        job = alignment(root, tiny_model, objectives=objectives, pairs={"rule": "Pool"}, **spec)
        return Task("policy", root, job.spec, job.spec.model, (), None, weights, "", table.digest())

    return make


def _pool(chance: random.Random, index: int, objectives: int) -> dict[str, Any]:
    asked = words(chance, chance.randrange(6, 11))
    said = [f"{words(chance, chance.randrange(1, 9))} {n}" for n in range(4)]
    ranks = [chance.sample(range(4), 4) for _ in range(objectives)]
    return {
        "id": f"q{index}",
        "kind": "",
        "messages": json.dumps([{"role": "user", "content": asked}]),
        "responses": said,
        "ended": [True, True, False, True],
        "scores": [[own[n] / 4 for own in ranks] for n in range(4)],
    }


def _pair(chance: random.Random, index: int, signs: list[int]) -> dict[str, Any]:
    return {
        "id": f"p{index}",
        "prompt_id": f"p{index}",
        "kind": "",
        "stage": "",
        "messages": json.dumps([{"role": "user", "content": words(chance, chance.randrange(6, 11))}]),
        "chosen": f"{words(chance, chance.randrange(1, 9))} yes",
        "rejected": f"{words(chance, chance.randrange(1, 9))} no",
        "chosen_ended": bool(index % 3),
        "rejected_ended": bool(index % 2),
        "signs": signs,
        "strength": 1.0,
        "gaps": [0.2 * sign for sign in signs],
    }
