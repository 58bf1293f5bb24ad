"""Small jobs and scores that several tests of this folder make."""

import random
from pathlib import Path
from typing import Any

from mora_jobs import api

WORDS = ["the", "cat", "helps", "a", "user", "to", "bake", "bread", "safely", "and", "tell", "what", "is", "true"]
REWARDS = ["helpful", "harmless", "truthful"]


def spread(prompts: int, rollouts: int, rewards: int = 3, seed: int = 0) -> list[list[list[float]]]:
    """Random raw scores."""
    chance = random.Random(seed)
    return [[[chance.random() for _ in range(rewards)] for _ in range(rollouts)] for _ in range(prompts)]


def alignment(uri: str, model: Path | str, /, **spec: Any) -> api.AlignmentJob:
    """An AlignmentJob with small settings; `spec` overrides members."""
    defaults: dict[str, Any] = {
        "model": {"uri": f"file://{model}"},
        "data": {"rolloutJobRef": {"name": "rollout"}},
        "objectives": [{"name": name} for name in REWARDS],
        "trainer": {"precision": "FP32", "perDeviceBatchSize": 2, "maxSteps": 2, "learningRate": 0.01},
        "lora": {"rank": 4},
        "output": {"uri": uri},
    }
    return api.AlignmentJob.model_validate({"metadata": {"name": "align"}, "spec": defaults | spec})
