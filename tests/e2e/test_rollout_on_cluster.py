"""One tiny RolloutJob the whole way on a real cluster: kubectl apply → operator → RayJob → driver in pods → status."""

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from kubectl import Namespace, Object
from tiny_model import make_tiny_model

pytestmark = pytest.mark.e2e

PROMPTS = 6
SAMPLES = 4
SECONDS = float(os.environ.get("MORA_E2E_SECONDS", "600"))  # a start of Ray on two busy cores takes minutes
REWARDS = """
def length(prompts, responses, **columns):
    return [min(len(response) / 64, 1.0) for response in responses]


def letters(prompts, responses, **columns):
    return [sum(map(str.isalpha, response)) / max(len(response), 1) for response in responses]
"""


def rollout_job(image: str) -> Object:
    """A job that a laptop's cluster has room for: no GPU, half a core for each pod."""
    small = {"requests": {"cpu": "300m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}}
    code = {"name": "rewards"}
    return {
        "apiVersion": "mora.dev/v1alpha1",
        "kind": "RolloutJob",
        "metadata": {"name": "tiny"},
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
            "output": {"uri": "pvc://data/runs/tiny"},
        },
    }


@pytest.fixture
def prepared(namespace: Namespace) -> Namespace:
    """The namespace with a model, prompts and rewards in place."""
    make_tiny_model(namespace.volume / "model")
    lines = [json.dumps({"id": f"p{index}", "prompt": f"Say something about {index}."}) for index in range(PROMPTS)]
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
    return namespace


@pytest.mark.timeout(SECONDS + 120)
def test_counts_and_results_come_back_into_status(prepared: Namespace, runtime_image: str) -> None:
    prepared.apply(rollout_job(runtime_image))
    seen = prepared.await_job("rolloutjob", "tiny", SECONDS, until=lambda status: "completionTime" in status)
    status = seen[-1]
    print(prepared.kubectl("get", "rlj", "-o", "wide"))
    print(prepared.kubectl("describe", "rlj", "tiny"))

    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert status["phase"] == "Complete", status
    assert conditions["Complete"] == conditions["Ready"] == "True"
    assert conditions["Failed"] == conditions["Stalled"] == conditions["Reconciling"] == "False"
    assert status["observedGeneration"] == 1
    assert status["exit"]["class"] == "Success"

    assert status["rollouts"]["prompts"] == {"total": PROMPTS, "completed": PROMPTS, "failed": 0}
    assert status["rollouts"]["samples"] == PROMPTS * SAMPLES
    assert status["progress"]["progressPercentage"] == 100
    assert [reward["name"] for reward in status["rewards"]] == ["length", "letters"]
    assert (
        sum(status["isolation"]["singleReward"].values())
        + sum(status["isolation"].get(name, 0) for name in ("multiReward", "dead", "mixed"))
        == PROMPTS
    )
    # Progress was seen before the end, not only with it.
    assert any(one.get("phase") == "Running" for one in seen)

    rows = _rows(prepared.volume / "runs" / "tiny" / "rollouts")
    assert len(rows) == PROMPTS
    assert {len(row["samples"]) for row in rows} == {SAMPLES}
    assert "mora.dev" not in json.dumps(prepared.get("rayjob", "tiny-a1")["metadata"].get("finalizers", []))
    assert "finalizers" not in prepared.get("rolloutjob", "tiny")["metadata"]


@pytest.mark.timeout(SECONDS + 120)
def test_a_users_mistake_is_told_in_status(prepared: Namespace, runtime_image: str) -> None:
    job = rollout_job(runtime_image)
    job["metadata"]["name"] = "mistaken"
    job["spec"]["rewards"][0]["python"]["callable"] = "my_rewards:absent"
    prepared.apply(job)
    status = prepared.await_job("rolloutjob", "mistaken", SECONDS, until=lambda status: "completionTime" in status)[-1]
    assert status["phase"] == "Failed"
    assert status["exit"]["class"] == "UserError", status
    failed = next(condition for condition in status["conditions"] if condition["type"] == "Failed")
    assert "absent" in failed["message"]


def _rows(folder: Path) -> list[Object]:
    parts = sorted(folder.rglob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]
