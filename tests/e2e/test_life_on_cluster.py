"""A job that is suspended in the middle, and one whose driver is killed, on real pods."""

import json

import pytest
from experiments import SECONDS, SLOW, code
from kubectl import Namespace, rows
from statuses import ended
from tiny_jobs import SAMPLES, prepare, rollout_job

pytestmark = pytest.mark.e2e

MANY = 400


@pytest.fixture
def prepared(namespace: Namespace) -> Namespace:
    prepare(namespace, MANY)
    code(namespace, SLOW)
    return namespace


@pytest.mark.timeout(2 * SECONDS + 120)
def test_suspended_in_the_middle_and_resumed(prepared: Namespace, runtime_image: str) -> None:
    job = rollout_job(runtime_image, "pause")
    job["spec"]["rewards"] = job["spec"]["rewards"][:1]
    prepared.apply(job)
    begun = prepared.await_job(
        "rolloutjob", "pause", SECONDS, until=lambda status: status.get("progress", {}).get("completed", 0) > 0
    )[-1]
    assert begun["phase"] == "Running"
    prepared.kubectl("patch", "rolloutjob", "pause", "--type=merge", "-p", json.dumps({"spec": {"suspend": True}}))
    suspended = prepared.await_job(
        "rolloutjob", "pause", SECONDS, until=lambda status: status.get("phase") in ("Suspended", "Complete", "Failed")
    )[-1]
    assert suspended["phase"] == "Suspended"
    past = suspended["attemptHistory"][0]
    assert (past["reason"], past["lostSeconds"]) == ("Suspended", 0), "the driver stopped at a safe point by itself"
    assert suspended["exit"]["reason"] == "Stopped"
    assert not prepared.listed("rayjobs")
    kept = {row["id"] for row in rows(prepared.volume / "runs" / "pause" / "rollouts")}
    assert kept, "what was drawn is kept"

    prepared.kubectl("patch", "rolloutjob", "pause", "--type=merge", "-p", json.dumps({"spec": {"suspend": False}}))
    done = prepared.await_job("rolloutjob", "pause", SECONDS, until=ended)[-1]
    assert done["phase"] == "Complete", done
    assert done["attempts"] == {"current": 2, "failed": 0, "infraRestarts": 0}
    found = [row["id"] for row in rows(prepared.volume / "runs" / "pause" / "rollouts")]
    assert len(found) == len(set(found)) == MANY
    assert kept <= set(found)
    scored = [row["id"] for row in rows(prepared.volume / "runs" / "pause" / "scores")]
    assert len(scored) == len(set(scored)) == MANY
    assert done["rollouts"]["samples"] == MANY * SAMPLES


@pytest.mark.timeout(3 * SECONDS)
def test_a_driver_that_is_killed_is_followed_by_another_that_goes_on(prepared: Namespace, runtime_image: str) -> None:
    job = rollout_job(runtime_image, "killed")
    job["spec"]["rewards"] = job["spec"]["rewards"][:1]
    prepared.apply(job)
    prepared.await_job("rolloutjob", "killed", SECONDS, until=lambda status: "progress" in status)
    (head,) = prepared.kubectl("get", "pods", "-l", "ray.io/node-type=head", "-o", "name").split()
    prepared.kubectl("exec", head, "--", "pkill", "-9", "-f", "^python -m mora_jobs")
    seen = prepared.await_job("rolloutjob", "killed", 2 * SECONDS, until=ended)
    status = seen[-1]
    print(prepared.kubectl("get", "rlj", "-o", "wide"), prepared.kubectl("get", "events"))
    assert "Retrying" in [each.get("phase") for each in seen]
    assert status["phase"] == "Complete", status
    assert status["attempts"] == {"current": 2, "failed": 1, "infraRestarts": 0}
    assert status["attemptHistory"][0]["class"] == "App"
    for table in ("rollouts", "scores"):
        found = [row["id"] for row in rows(prepared.volume / "runs" / "killed" / table)]
        assert len(found) == len(set(found)) == MANY
