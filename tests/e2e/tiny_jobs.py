"""Jobs that a laptop's cluster has room for, and what they need in a namespace."""

import json
import os
from typing import Any

from kubectl import Namespace, Object
from tiny_model import make_tiny_model

PROMPTS = 6
SAMPLES = 4
SECONDS = float(os.environ.get("MORA_E2E_SECONDS", "600"))  # a start of Ray on two busy cores takes minutes
REWARDS = """
def length(prompts, responses, **columns):
    return [min(len(response) / 64, 1.0) for response in responses]


def letters(prompts, responses, **columns):
    return [sum(map(str.isalpha, response)) / max(len(response), 1) for response in responses]
"""


def rollout_job(image: str, name: str = "tiny", **spec: Any) -> Object:
    """A job that a laptop's cluster has room for: no GPU, half a core for each pod."""
    small = {"requests": {"cpu": "300m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}}
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
            "cluster": {
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "rayVersion": os.environ.get("MORA_E2E_RAY_VERSION", "2.60.0"),
                "head": {"resources": small},
                "workers": {"resources": small},
            },
            "output": {"uri": f"pvc://data/runs/{name}"},
        }
        | spec,
    }


def prepare(namespace: Namespace, prompts: int = PROMPTS) -> None:
    """Put a model, prompts and rewards in place."""
    make_tiny_model(namespace.volume / "model")
    lines = [json.dumps({"id": f"p{index}", "prompt": f"Say something about {index}."}) for index in range(prompts)]
    (namespace.volume / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    (namespace.volume / "runs").mkdir()
    for path in [namespace.volume, *namespace.volume.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o644)  # the pods' user is not ours, and hostPath knows no fsGroup
    code = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rewards"},
        "data": {"my_rewards.py": REWARDS},
    }
    namespace.apply(code)
