"""Pods that are killed in the middle: of the job, of KubeRay, of the operator. What was done stays done."""

import json
import os
import re
import shlex
import subprocess

import pytest
from experiments import KINDS, SECONDS, SLOW, code, manifests, one_reward, prepare
from kubectl import Namespace, Object, rows
from statuses import begun, ended

pytestmark = pytest.mark.e2e

PROMPTS = 200
STEPS = 200


@pytest.fixture
def rollout(namespace: Namespace, runtime_image: str) -> Object:
    """A RolloutJob that scores slowly; not applied yet."""
    return one_reward(namespace, runtime_image, SLOW, PROMPTS)


@pytest.fixture
def chain(namespace: Namespace, runtime_image: str) -> list[Object]:
    """The three jobs, with more steps than can be done before somebody looks; not applied yet."""
    prepare(namespace.volume)
    code(namespace)
    jobs = manifests(runtime_image, steps=STEPS)
    jobs[2]["spec"]["checkpoint"] = {"intervalSteps": 5}
    return jobs


def kill(namespace: Namespace, *selector: str) -> None:
    """Kill pods as a node does that goes down. MORA_E2E_KILL sends SIGKILL; a forced deletion alone lets processes end in their time.

    The pods are deleted too: a container that is only killed is started anew in its pod, and KubeRay submits the driver again.
    """
    found = json.loads(namespace.kubectl("get", "pods", *selector, "-o", "json"))["items"]
    assert found, selector
    for pod in found:
        home, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        if command := os.environ.get("MORA_E2E_KILL"):
            subprocess.run([*shlex.split(command), home, name], check=True, capture_output=True)
        namespace.kubectl("delete", "pod", name, "-n", home, "--grace-period=0", "--force")


def every_prompt_once(namespace: Namespace) -> None:
    for name in ("rollouts", "scores"):
        found = [row["id"] for row in rows(namespace.volume / "runs" / "rollout" / name)]
        assert len(found) == len(set(found)) == PROMPTS, name


UNNOTICED = {"current": 1, "failed": 0, "infraRestarts": 0}


@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize(
    ("selector", "attempts"),
    [
        pytest.param("ray.io/node-type=worker", UNNOTICED | {"current": 2, "infraRestarts": 1}, id="the only worker"),
        pytest.param("batch.kubernetes.io/job-name=rollout-a1", UNNOTICED, id="the submitter, and the driver goes on"),
        pytest.param("app.kubernetes.io/component=kuberay-operator", UNNOTICED, id="KubeRay"),
    ],
)
def test_a_pod_killed_in_rollouts(namespace: Namespace, rollout: Object, selector: str, attempts: Object) -> None:
    namespace.apply(rollout)
    namespace.await_job("rolloutjob", "rollout", SECONDS, until=begun)
    kill(namespace, *(["-A"] if "kuberay" in selector else []), "-l", selector)
    status = namespace.await_job("rolloutjob", "rollout", 2 * SECONDS, until=ended)[-1]
    print(namespace.kubectl("get", "rlj", "-o", "wide"), namespace.kubectl("get", "events"))
    assert status["phase"] == "Complete", status
    assert status["attempts"] == attempts, "a pod that was killed is nobody's mistake"
    every_prompt_once(namespace)


@pytest.mark.timeout(5 * SECONDS)
def test_the_head_killed_in_alignment(namespace: Namespace, chain: list[Object]) -> None:
    """The driver goes on from the last checkpoint, in a new attempt, or in this one where KubeRay submits it to the new head."""
    namespace.apply(*chain)
    namespace.await_job(
        "alignmentjob", "alignment", 4 * SECONDS, until=lambda status: status.get("checkpoint", {}).get("step", 0) >= 5
    )
    kill(namespace, "-l", "ray.io/node-type=head")
    status = namespace.await_job("alignmentjob", "alignment", 3 * SECONDS, until=ended)[-1]
    print(namespace.kubectl("get", "alj", "-o", "wide"), namespace.kubectl("get", "events"))
    assert status["phase"] == "Complete", status
    assert status["attempts"]["failed"] == 0
    assert status["attempts"]["current"] == 1 + status["attempts"]["infraRestarts"]
    assert all("lostSeconds" in past for past in status.get("attemptHistory", []))
    log = (namespace.volume / "runs" / "alignment" / "driver.log").read_text()
    (whence,) = re.findall(r"training expert-\w+ goes on after step (\d+), ", log)
    assert int(whence) >= 5
    for expert in ("length", "vowels"):
        place = namespace.volume / "runs" / "alignment" / "trainings" / f"expert-{expert}" / "log.json"
        assert [row["step"] for row in json.loads(place.read_text())] == list(range(1, STEPS + 1)), "each step once"


@pytest.mark.timeout(5 * SECONDS)
def test_the_operator_killed_during_each_job(namespace: Namespace, chain: list[Object]) -> None:
    namespace.apply(*chain)
    for kind in KINDS:
        name = kind.lower().removesuffix("job")
        namespace.await_job(kind, name, 2 * SECONDS, until=lambda status: status.get("phase") == "Running")
        kill(namespace, "-n", "mora-system", "-l", "app.kubernetes.io/name=mora-operator")
        ends = namespace.await_job(kind, name, 2 * SECONDS, until=ended)
        assert ends[-1]["phase"] == "Complete", ends[-1]
        assert ends[-1]["attempts"] == {"current": 1, "failed": 0, "infraRestarts": 0}
    assert len(namespace.listed("rayjobs")) == len(KINDS)
