"""The smallest RolloutJob that the operator makes a RayJob of."""

from typing import Any


def small_job(name: str, **spec: Any) -> dict[str, Any]:
    """The manifest; `spec` holds members that are added or replaced."""
    return {
        "apiVersion": "mora.dev/v1alpha1",
        "kind": "RolloutJob",
        "metadata": {"name": name},
        "spec": {
            "model": {"uri": "pvc://models/tiny"},
            "prompts": {"uri": "pvc://data/prompts.jsonl"},
            "rewards": [{"name": "length", "python": {"callable": "rewards:length"}}],
            "output": {"uri": f"pvc://data/runs/{name}"},
        }
        | spec,
    }
