"""Jobs that a laptop's cluster has room for, and what they need in a namespace."""

from typing import Any

import experiments
from kubectl import Namespace, Object

PROMPTS = 6
SAMPLES = 4
REWARDS = """
def length(prompts, responses, **columns):
    return [min(len(response) / 64, 1.0) for response in responses]


def letters(prompts, responses, **columns):
    return [sum(map(str.isalpha, response)) / max(len(response), 1) for response in responses]
"""


def rollout_job(image: str, name: str = "tiny", **spec: Any) -> Object:
    """A job that a laptop's cluster has room for: no GPU, half a core for each pod."""
    code = {"name": "rewards"}
    return {
        "apiVersion": "mora.dev/v1alpha1",
        "kind": "RolloutJob",
        "metadata": {"name": name},
        "spec": {
            "model": {"uri": "pvc://data/model"},
            "prompts": {"uri": "pvc://data/prompts.jsonl"},
            "sampling": {"samplesPerPrompt": SAMPLES, "maxTokens": 12, "seed": 7},
            "engine": {"type": "Transformers", "dtype": "Float32"},
            "rewards": [
                {"name": "length", "python": {"callable": "my_rewards:length", "codeConfigMapRef": code}},
                {"name": "letters", "python": {"callable": "my_rewards:letters", "codeConfigMapRef": code}},
            ],
            "cluster": experiments.cluster(image),
            "output": {"uri": f"pvc://data/runs/{name}"},
        }
        | spec,
    }


def prepare(namespace: Namespace, prompts: int = PROMPTS) -> None:
    """Put a model, prompts and rewards in place."""
    experiments.prepare(namespace.volume, prompts)
    experiments.code(namespace, REWARDS)
