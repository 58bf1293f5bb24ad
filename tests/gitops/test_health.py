"""Argo CD's health script, in a real Lua 5.1 that has what Argo CD gives it, on statuses that the operator's code makes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import EXAMPLES
from control_plane import Cluster
from lupa import lua51

from mora_jobs.api import KINDS, ConditionType, Phase

sys.path.append(str(Path(__file__).parents[1] / "mora_operator"))

from builders import NOW, SETTINGS, observed, rayjob, rollout_job, workload

from mora_operator.plan.obstacles import Obstacle
from mora_operator.plan.plan import plan
from mora_operator.plan.references import References
from mora_operator.plan.status import stalled
from mora_operator.plan.view import Observed
from mora_operator.resources import JobKey

SCRIPT = (EXAMPLES / "argocd" / "health.lua").read_text()
# util/lua/lua.go of Argo CD opens package, base, table and a reduced os for scripts of users; no string, no math.
ARGO_LACKS = 'getmetatable("").__index = nil string = nil math = nil io = nil debug = nil os = nil'
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "tiny-a1-x", "jobId": "j"}
SUCCEEDED = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "endTime": "2026-11-22T11:50:00Z"}
FAILED = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}
REPORTED = {"lastUpdatedTime": "2026-11-22T11:59:50Z"}
OTHER = JobKey("RolloutJob", "team-a", "other")


def health(obj: dict[str, Any]) -> tuple[str, str]:
    lua = lua51.LuaRuntime()
    assert lua.eval("_VERSION") == "Lua 5.1"
    lua.execute(ARGO_LACKS)
    lua.globals().obj = lua.table_from(json.loads(json.dumps(obj)), recursive=True)
    answer = lua.execute(SCRIPT)
    return answer["status"], answer["message"]


def job_with(status: dict[str, Any] | None, generation: int = 1) -> dict[str, Any]:
    job: dict[str, Any] = {"metadata": {"name": "tiny", "generation": generation}}
    return job if status is None else job | {"status": status}


def status_of(seen: Observed, **spec: Any) -> dict[str, Any]:
    """What the operator writes for what it sees, beside what drivers have reported."""
    written = plan(rollout_job(**spec), seen, SETTINGS, NOW).status
    assert written is not None
    return dict(seen.status) | written


def waiting_for(**status: Any) -> References:
    return References((OTHER,), ((OTHER, {"metadata": {}, "spec": {}, "status": status}),))


CASES = [
    pytest.param("Waiting", status_of(observed(references=waiting_for(phase="Running"))), "Progressing", "WaitingForInputs", id="waits for a job"),
    pytest.param("Waiting", status_of(observed(references=References((OTHER,)))), "Progressing", "ReferenceNotFound", id="waits for a job that does not exist"),
    pytest.param("Stalled", status_of(observed(), prompts={"uri": "file://x.jsonl"}), "Degraded", "RelativeURI", id="cannot run"),
    pytest.param("Stalled", stalled(observed(), NOW, "InvalidSpec", "spec.x: unknown"), "Degraded", "InvalidSpec: spec.x", id="cannot be read"),
    pytest.param("Provisioning", status_of(observed()), "Progressing", "", id="new"),
    pytest.param("Provisioning", status_of(observed(rayjob(), obstacle=Obstacle("SecretNotFound", "no Secret s3", True))), "Degraded", "SecretNotFound: no Secret s3", id="pods do not come up"),
    pytest.param("Queued", status_of(observed(rayjob(suspend=True), queue="gpu-queue", workload=workload())), "Progressing", "WaitingForQuota", id="in a queue"),
    pytest.param("Running", status_of(observed(rayjob(**RUNNING), progress=REPORTED | {"progressPercentage": 45})), "Progressing", "45% Running", id="runs"),
    pytest.param("Running", status_of(observed(rayjob(**RUNNING))), "Progressing", "", id="runs, and has not reported"),
    pytest.param("Suspending", status_of(observed(rayjob(**RUNNING), phase="Running"), suspend=True), "Progressing", "Suspending", id="is being suspended"),
    pytest.param("Suspended", status_of(observed(), suspend=True), "Suspended", "Suspended", id="suspended"),
    pytest.param("Retrying", status_of(observed(rayjob(**FAILED))), "Progressing", "", id="failed once"),
    pytest.param("Failed", status_of(observed(rayjob(**FAILED)), backoffLimit=0), "Degraded", "", id="failed for good"),
    pytest.param("Complete", status_of(observed(rayjob(**SUCCEEDED))), "Healthy", "Complete: tiny-a1 succeeded", id="complete"),
]  # fmt: skip


@pytest.mark.parametrize(("phase", "status", "expected", "message"), CASES)
def test_a_job_in_every_phase(phase: str, status: dict[str, Any], expected: str, message: str) -> None:
    assert status["phase"] == phase
    said, why = health(job_with(status))
    assert said == expected
    assert why.startswith(message), why
    assert why


def test_no_phase_was_forgotten() -> None:
    in_a_cluster = set(Phase) - {Phase.PENDING}  # that is what `mora run` says of what it has not begun
    assert {case.values[0] for case in CASES} == {phase.value for phase in in_a_cluster}


@pytest.mark.parametrize("status", [None, {"observedGeneration": -1}])
def test_a_job_that_nobody_has_looked_at_progresses(status: dict[str, Any] | None) -> None:
    assert health(job_with(status)) == ("Progressing", "the operator has not looked at it yet")


def test_a_change_that_was_not_looked_at_progresses_whatever_was_said_before() -> None:
    status = status_of(observed(rayjob(**FAILED)), backoffLimit=0)
    assert health(job_with(status))[0] == "Degraded"
    assert health(job_with(status, generation=2))[0] == "Progressing"


def test_ready_is_what_the_message_is_taken_from() -> None:
    """The operator always writes it; an older one that leaves it out does not break the script."""
    status = status_of(observed(rayjob(**SUCCEEDED)))
    status["conditions"] = [each for each in status["conditions"] if each["type"] != ConditionType.READY]
    assert health(job_with(status)) == ("Healthy", "")


def test_one_script_serves_all_kinds_and_is_added_to_argo_cds_configuration(cluster: Cluster) -> None:
    rendered = cluster.kubectl("kustomize", str(EXAMPLES / "argocd")).stdout
    assert yaml.safe_load(rendered)["data"] == {
        f"resource.customizations.health.mora.dev_{kind}": SCRIPT for kind in KINDS
    }
    cluster.kubectl("create", "namespace", "argocd")
    own = {"metadata": {"name": "argocd-cm", "namespace": "argocd"}, "data": {"admin.enabled": "false"}}
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap"} | own)
    patch = ("patch", "configmap", "argocd-cm", "--type=merge", "--patch-file=/dev/stdin")
    cluster.kubectl("-n", "argocd", *patch, stdin=rendered)
    kept = json.loads(cluster.kubectl("-n", "argocd", "get", "configmap", "argocd-cm", "-o", "json").stdout)["data"]
    assert kept == own["data"] | {f"resource.customizations.health.mora.dev_{kind}": SCRIPT for kind in KINDS}


def test_the_application_ignores_suspend_of_every_kind() -> None:
    application = yaml.safe_load((EXAMPLES / "argocd" / "application.yaml").read_text())["spec"]
    ignored = [(each["group"], each["kind"], each["jsonPointers"]) for each in application["ignoreDifferences"]]
    assert ignored == [("mora.dev", kind, ["/spec/suspend"]) for kind in KINDS]
    assert "RespectIgnoreDifferences=true" in application["syncPolicy"]["syncOptions"], "a sync must ignore it too"
    assert (EXAMPLES.parents[1] / application["source"]["path"] / "kustomization.yaml").exists()
