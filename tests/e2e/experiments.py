"""A whole experiment that a laptop's cluster has room for: the same manifests for `kubectl apply` and for `mora run`.

URIs stand on the claim `data`; `mora run --volume data=FOLDER` reads the same files from a folder.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from kubectl import Namespace, Object, rows
from tiny_model import make_tiny_model

KINDS = ("RolloutJob", "RewriteJob", "AlignmentJob")
CLAIM = "data"
SECONDS = float(os.environ.get("MORA_E2E_SECONDS", "600"))  # a start of Ray on two busy cores takes minutes
REWARDS = """
def length(prompts, responses, **columns):
    return [float(len(response)) for response in responses]


def vowels(prompts, responses, **columns):
    return [sum(letter in "aeiou" for letter in response) / max(len(response), 1) for response in responses]


def variety(prompts, responses, **columns):
    return [float(len(set(response))) for response in responses]
"""
SLOW = """
import time

def length(prompts, responses, **columns):
    time.sleep(0.05 * len(responses))  # long enough to be interrupted
    return [min(len(response) / 64, 1.0) for response in responses]
"""
SMALL = {"requests": {"cpu": "300m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}}


def cluster(image: str) -> Object:
    """Pods of half a core, from one image."""
    return {
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "rayVersion": os.environ.get("MORA_E2E_RAY_VERSION", "2.60.0"),
        "head": {"resources": SMALL},
        "workers": {"resources": SMALL},
    }


def manifests(image: str, prefix: str = "", steps: int = 4, folder: str = "runs") -> list[Object]:
    """RolloutJob → RewriteJob → AlignmentJob on a tiny random model in fp32 with the transformers engine."""
    # A random model has no preferences: every prompt that reaches the top of one dimension counts as single-reward.
    loose = {"criterion": "Level", "reachThreshold": 0.93, "jointLevel": 0.99, "jointThreshold": 1.0}
    code = {"codeConfigMapRef": {"name": "rewards"}}
    names = {kind: f"{prefix}{kind.lower().removesuffix('job')}" for kind in KINDS}
    engine = {"type": "Transformers", "dtype": "Float32"}
    model = {"uri": f"pvc://{CLAIM}/model"}
    rollout = {
        "model": model,
        "prompts": {"uri": f"pvc://{CLAIM}/prompts.jsonl"},
        "sampling": {"samplesPerPrompt": 6, "maxTokens": 12, "seed": 3},
        "engine": engine,
        "rewards": [
            {"name": name, "python": {"callable": f"my_rewards:{name}"} | code}
            for name in ("length", "vowels", "variety")
        ],
        "isolation": loose | {"plateauTolerance": 1.0},
    }
    rewrite = {
        "source": {"rolloutJobRef": {"name": names["RolloutJob"]}},
        "rewriter": {
            "templates": [
                {"name": "steps", "template": "{{ prompt }} Explain it in steps."},
                {"name": "risks", "template": "{{ prompt }} What could go wrong?"},
            ]
        },
        "validation": {
            "samplesPerPrompt": 6,
            "minBalanceGain": 0.0,
            "minHypervolumeGain": -1,
            "maxReachLoss": 1,
        },
    }
    align = {
        "model": model,
        "data": {"rewriteJobRef": {"name": names["RewriteJob"]}},
        "pairs": {"rule": "PerObjective", "minGap": 0.05, "maxPairsPerPrompt": 2},
        "objectives": [{"name": "length"}, {"name": "vowels"}],
        "trainer": {"precision": "FP32", "perDeviceBatchSize": 2, "maxSteps": steps, "learningRate": 0.01},
        "lora": {"rank": 2},
        "checkpoint": {"intervalSteps": 1},
        "front": {"strategy": "RewardedSoup", "points": 4},
        "evaluation": {"prompts": {"uri": f"pvc://{CLAIM}/heldout.jsonl"}, "samplesPerPrompt": 2},
    }
    made = []
    for kind, spec in zip(KINDS, (rollout, rewrite, align), strict=True):
        output = {"uri": f"pvc://{CLAIM}/{folder}/{names[kind]}"}
        head = {"apiVersion": "mora.dev/v1alpha1", "kind": kind, "metadata": {"name": names[kind]}}
        pods = cluster(image) | {"ttlSecondsAfterFinished": 0}  # the next job of the chain needs the room
        made.append(head | {"spec": spec | {"cluster": pods, "output": output}})
    return made


def prepare(folder: Path, prompts: int = 12) -> None:
    """The claim's files."""
    make_tiny_model(folder / "model")
    lines = [
        json.dumps({"id": f"p{index}", "prompt": f"Question {index}: why is it {index}?"}) for index in range(prompts)
    ]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    held_out = [json.dumps({"id": f"h{index}", "prompt": f"Another question {index}?"}) for index in range(3)]
    (folder / "heldout.jsonl").write_text("\n".join(held_out) + "\n")
    (folder / "runs").mkdir()
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o644)  # the pods' user is not ours, and hostPath knows no fsGroup


def code(namespace: Namespace, text: str = REWARDS) -> None:
    """The rewards as a ConfigMap."""
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rewards"}}
    namespace.apply(head | {"data": {"my_rewards.py": text}})


def one_reward(namespace: Namespace, image: str, text: str, prompts: int = 12, **spec: object) -> Object:
    """A RolloutJob with the reward `length` of this code, and what it needs in the namespace."""
    prepare(namespace.volume, prompts)
    code(namespace, text)
    job = manifests(image)[0]
    job["spec"]["rewards"] = job["spec"]["rewards"][:1]
    job["spec"] |= spec
    return job


def run_here(documents: list[Object], volume: Path, folder: Path) -> tuple[Path, list[Object]]:
    """`mora run` of the same manifests on a copy of the claim's inputs; the folder of its artifacts, and the statuses."""
    copy = folder / "volume"
    shutil.copytree(volume, copy, ignore=shutil.ignore_patterns("runs"))
    (folder / "manifests").mkdir()
    (folder / "manifests" / "my_rewards.py").write_text(REWARDS)
    (folder / "manifests" / "jobs.yaml").write_text(yaml.safe_dump_all(documents))
    command = [sys.executable, "-m", "mora_jobs.cli", "run", "-f", folder / "manifests"]
    command += ["--workdir", folder / "workdir", "--volume", f"{CLAIM}={copy}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [f"{each['kind']}-{each['metadata']['name']}.yaml".lower() for each in documents]
    statuses = [yaml.safe_load((folder / "workdir" / "status" / name).read_text())["status"] for name in names]
    return copy / "runs", statuses


def table(folder: Path, name: str) -> list[Object]:
    """Rows of one of a job's tables in an order that does not depend on how they were written."""
    return sorted(rows(folder / name), key=lambda row: json.dumps(row, sort_keys=True, default=str))
