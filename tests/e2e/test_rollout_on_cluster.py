"""One tiny RolloutJob the whole way on a real cluster: kubectl apply → operator → RayJob → driver in pods → status."""

import json

import pytest
from experiments import SECONDS
from kubectl import Namespace, rows
from statuses import condition, ended
from tiny_jobs import PROMPTS, SAMPLES, prepare, rollout_job

pytestmark = pytest.mark.e2e


@pytest.fixture
def prepared(namespace: Namespace) -> Namespace:
    prepare(namespace)
    return namespace


@pytest.mark.timeout(SECONDS + 120)
def test_counts_and_results_come_back_into_status(prepared: Namespace, runtime_image: str) -> None:
    prepared.apply(rollout_job(runtime_image))
    seen = prepared.await_job("rolloutjob", "tiny", SECONDS, until=ended)
    status = seen[-1]
    print(prepared.kubectl("get", "rlj", "-o", "wide"))
    print(prepared.kubectl("describe", "rlj", "tiny"))

    conditions = {each["type"]: each["status"] for each in status["conditions"]}
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

    found = rows(prepared.volume / "runs" / "tiny" / "rollouts")
    assert len(found) == PROMPTS
    assert {len(row["samples"]) for row in found} == {SAMPLES}
    assert "mora.dev" not in json.dumps(prepared.get("rayjob", "tiny-a1")["metadata"].get("finalizers", []))
    assert "finalizers" not in prepared.get("rolloutjob", "tiny")["metadata"]


@pytest.mark.timeout(SECONDS + 120)
def test_a_users_mistake_is_told_in_status(prepared: Namespace, runtime_image: str) -> None:
    job = rollout_job(runtime_image)
    job["metadata"]["name"] = "mistaken"
    job["spec"]["rewards"][0]["python"]["callable"] = "my_rewards:absent"
    prepared.apply(job)
    status = prepared.await_job("rolloutjob", "mistaken", SECONDS, until=ended)[-1]
    assert status["phase"] == "Failed"
    assert status["exit"]["class"] == "UserError", status
    assert "absent" in condition(status, "Failed")["message"]
