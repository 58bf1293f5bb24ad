"""A real experiment that runs in seconds: twelve prompts, the tiny model, three Python rewards."""

import json
from pathlib import Path
from typing import Any

from mora_jobs import api

REWARDS = '''
def length(prompts, responses):
    return [float(len(response)) for response in responses]

def vowels(prompts, responses):
    return [sum(letter in "aeiou" for letter in response) / max(len(response), 1) for response in responses]

def quirky(prompts, responses, weight):
    """Needs a column of the prompts, and has no score for empty responses."""
    return [float(w * len(set(response))) if response.strip() else None for response, w in zip(responses, weight)]
'''
SAMPLES = 6


class SmallExperiment:
    """Jobs over one folder; every job is resolved as `mora run` and the operator would."""

    def __init__(self, folder: Path, model: Path, prompts: int = 12) -> None:
        self.folder, self.model = folder, model
        folder.mkdir(parents=True, exist_ok=True)
        rows = [{"id": f"p{i}", "prompt": f"Question {i}: why is 你好 {i}?", "weight": i % 3} for i in range(prompts)]
        (folder / "prompts.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        held_out = [{"id": f"h{i}", "prompt": f"Another question {i}?", "weight": 1} for i in range(3)]
        (folder / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held_out))
        (folder / "small_rewards.py").write_text(REWARDS)

    def manifests(self) -> list[dict[str, Any]]:
        """The three jobs as a user would write them, with paths relative to their folder."""
        rollout = self.rollout()
        rewrite = self.rewrite(rollout)
        align = {
            "model": {"uri": f"file://{self.model}"},
            "data": {"rewriteJobRef": {"name": "small"}},
            "pairs": {"rule": "PerObjective", "minGap": 0.05, "maxPairsPerPrompt": 2},
            "objectives": [{"name": "length"}, {"name": "vowels"}],
            "trainer": {"precision": "FP32", "perDeviceBatchSize": 2, "maxSteps": 4, "learningRate": 0.01},
            "lora": {"rank": 2},
            "checkpoint": {"intervalSteps": 1},
            "evaluation": {"prompts": {"uri": "file://heldout.jsonl"}, "samplesPerPrompt": 2},
        }
        found = []
        for kind, name, spec in (
            ("RolloutJob", "rollout", rollout.job.spec.to_dict() | {"prompts": {"uri": "file://prompts.jsonl"}}),
            ("RewriteJob", "rewrite", rewrite.job.spec.to_dict()),
            ("AlignmentJob", "align", align),
        ):
            spec |= {"backoffLimit": 100, "output": {"uri": f"file://{name}"}}
            head = {"apiVersion": api.API_VERSION, "kind": kind, "metadata": {"name": "small"}}
            found.append(head | {"spec": spec})
        return found

    def rollout(
        self, output: str = "rollout", names: tuple[str, ...] = ("length", "vowels", "quirky"), **spec: Any
    ) -> api.ResolvedJob:
        # Every prompt counts as single-reward that reaches the top of one dimension: the tiny model has no preferences.
        loose = {
            "criterion": "Level",
            "reachThreshold": 0.93,
            "jointLevel": 0.99,
            "jointThreshold": 1.0,
            "plateauTolerance": 1.0,
        }
        fields = {
            "model": {"uri": f"file://{self.model}"},
            "prompts": {"uri": f"file://{self.folder}/prompts.jsonl"},
            "sampling": {"samplesPerPrompt": SAMPLES, "maxTokens": 12, "seed": 3},
            "engine": {"type": "Transformers"},
            "rewards": [{"name": name, "python": {"callable": f"small_rewards:{name}"}} for name in names],
            "isolation": loose,
            "output": {"uri": f"file://{self.folder}/{output}"},
        }
        return self._resolved(api.RolloutJob.model_validate({"metadata": {"name": "small"}, "spec": fields | spec}))

    def rewrite(self, source: api.ResolvedJob, output: str = "rewrite", **spec: Any) -> api.ResolvedJob:
        patterns = [
            {"name": "steps", "template": "{{ prompt }} Explain it in steps."},
            {"name": "risks", "template": "{{ prompt }} What could go wrong?"},
        ]
        fields = {
            "source": {"rolloutJobRef": {"name": "small"}},
            "rewriter": {"templates": patterns},
            "validation": {
                "samplesPerPrompt": SAMPLES,
                "minBalanceGain": 0.0,
                "minHypervolumeGain": -1,
                "maxReachLoss": 1,
            },
            "output": {"uri": f"file://{self.folder}/{output}"},
        }
        job = api.RewriteJob.model_validate({"metadata": {"name": "small"}, "spec": fields | spec})
        return self._resolved(job, [source.job])

    def _resolved(self, job: api.Job, references: list[api.Job] | None = None) -> api.ResolvedJob:
        return api.ResolvedJob(job=job, references=references or [], import_paths=[str(self.folder)])
