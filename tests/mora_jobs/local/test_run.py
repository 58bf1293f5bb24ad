"""`mora run` with fake drivers: order, failures, resuming, refusals. Ray is fake, all other processes are real."""

import pytest
from local_experiments import Experiment

from mora_jobs.errors import UserError
from mora_jobs.local.experiment import Refused


def test_jobs_run_in_the_order_of_their_references_and_independent_ones_side_by_side(experiment, run):
    # The manifests stand in the wrong order, and the two independent jobs wait for each other's first step.
    experiment.align("last", of="middle")
    experiment.rewrite("middle", of="first")
    experiment.rollout("first", meet="other")
    experiment.rollout("other", meet="first")
    code, printed = run()
    assert code == 0, printed
    for key in ("RolloutJob/first", "RolloutJob/other", "RewriteJob/middle", "AlignmentJob/last"):
        assert experiment.phase(key) == "Complete"
        assert key in printed
    begun = {key: experiment.status(key)["status"]["startTime"] for key in ("RewriteJob/middle", "AlignmentJob/last")}
    assert experiment.status("RolloutJob/first")["status"]["completionTime"] <= begun["RewriteJob/middle"]
    assert experiment.status("RewriteJob/middle")["status"]["completionTime"] <= begun["AlignmentJob/last"]
    assert experiment.events("AlignmentJob/last") == ["Created", "WaitingForInputs", "Running", "Complete"]
    assert "12 rollouts of 3 prompts" in printed
    assert "single-reward 2 (helpful 2), multi 0, mixed 1, dead 0" in printed
    assert f"workdir: {experiment.workdir}" in printed
    # What a cluster would show, from the driver's reports alone:
    status = experiment.status("RolloutJob/first")["status"]
    assert status["rollouts"]["samples"] == 12
    assert status["progress"] | {"lastUpdatedTime": ""} == {
        "progressPercentage": 100,
        "estimatedRemainingSeconds": 0,
        "completed": 3,
        "total": 3,
        "failed": 0,
        "unit": "Prompts",
        "stage": "Rollouts",
        "lastUpdatedTime": "",
    }
    written = {"name": "steps", "uri": f"file://{experiment.workdir}/out/first/steps", "digest": "sha256:3"}
    assert status["outputs"] == [written]
    assert status["exit"] == {"class": "Success", "reason": "Complete", "message": "", "attempt": 1}
    # The driver leaves a report beside its artifacts; the log of the workdir holds all attempts.
    report = experiment.workdir / "out" / "first" / "report.html"
    log_file = experiment.workdir / "logs" / "rolloutjob-first.log"
    assert status["links"] == {"logs": log_file.as_uri(), "report": report.as_uri()}
    assert "1 job, complete" in report.read_text()


def test_manifests_of_a_cluster_run_here_with_folders_in_the_place_of_claims(experiment, run):
    experiment.rollout("one")
    volume = experiment.folder.parent / "volume"
    volume.mkdir()
    (experiment.folder / "prompts.jsonl").rename(volume / "prompts.jsonl")
    experiment.change(
        "RolloutJob/one", prompts={"uri": "pvc://data/prompts.jsonl"}, output={"uri": "pvc://data/runs/one"}
    )
    code, printed = run(volumes=[f"data={volume}"])
    assert code == 0, printed
    status = experiment.status("RolloutJob/one")["status"]
    assert status["outputs"][0]["uri"] == f"file://{volume}/runs/one/steps"
    assert experiment.status("RolloutJob/one")["spec"]["prompts"]["uri"] == f"file://{volume}/prompts.jsonl"


@pytest.mark.parametrize(
    ("volumes", "line"),
    [
        (["data"], "--volume data: is not of the form CLAIM=FOLDER"),
        (["Data=/"], "--volume Data=/: is not of the form CLAIM=FOLDER"),
        (["data=/no/such"], "--volume data=/no/such: there is no such folder"),
        (["data=/", "data=/"], "--volume data=/: data is given twice"),
        (["data=/", "other=/"], "--volume other: no manifest has a URI on this claim"),
    ],
)
def test_volumes_that_cannot_be(experiment, run, volumes, line):
    experiment.rollout("one")
    experiment.change("RolloutJob/one", model={"uri": "pvc://data/model"})
    with pytest.raises(UserError) as refused:
        run(volumes=volumes)
    assert str(refused.value) == line
    assert not experiment.workdir.exists()


def test_a_failure_stops_what_depends_on_it_and_nothing_else_and_running_again_goes_on(experiment, run):
    experiment.rollout("bad", end="App", steps="2")
    experiment.rollout("good", steps="4")
    experiment.rewrite("after-bad", of="bad")
    experiment.align("after-that", of="after-bad")
    code, printed = run()
    assert code == 1
    assert experiment.phase("RolloutJob/good") == "Complete"
    assert "RolloutJob/bad failed (RuntimeError): RuntimeError: Bearer [redacted] is not welcome here" in printed
    log = (experiment.workdir / "logs" / "rolloutjob-bad.log").read_text()
    assert "Traceback" in log
    assert "abcdefghijklmnop" not in log
    for key in ("RewriteJob/after-bad", "AlignmentJob/after-that"):
        conditions = experiment.conditions(key)
        assert conditions["InputsReady"] == ("False", "ReferenceFailed")
        assert conditions["Ready"] == ("False", "ReferenceFailed")
        assert conditions["Stalled"] == ("True", "ReferenceFailed")
    assert experiment.conditions("RolloutJob/bad")["Failed"] == ("True", "RuntimeError")
    before = {path: path.read_bytes() for name in ("bad", "good") for path in experiment.steps(name)}

    experiment.wish("RolloutJob/bad", end="Success")
    code, printed = run()
    assert code == 0, printed
    assert experiment.status("RolloutJob/bad")["status"]["attempts"] == {"current": 2, "failed": 1, "infraRestarts": 0}
    assert [past["reason"] for past in experiment.status("RolloutJob/bad")["status"]["attemptHistory"]] == [
        "RuntimeError"
    ]
    assert experiment.status("RolloutJob/good")["status"]["attempts"]["current"] == 1, "complete jobs are left alone"
    assert {path: path.read_bytes() for path in before} == before, "committed work is kept"


def test_complete_jobs_run_again_only_where_an_input_or_the_artifacts_changed(experiment, run):
    experiment.rollout("one")
    assert run()[0] == 0
    code, printed = run()
    assert code == 0
    assert "starting Ray" not in printed
    (experiment.folder / "prompts.jsonl").write_text('{"id": "c", "prompt": "another"}\n')
    assert run()[0] == 0
    assert experiment.status("RolloutJob/one")["status"]["attempts"]["current"] == 2


@pytest.mark.parametrize(
    ("end", "code", "failed", "reason"),
    [
        pytest.param("UserError", 2, "UserError", "InvalidInput", id="a mistake of the user"),
        pytest.param("Exit", 1, "App", "DriverFailed", id="a driver that could not say how it ended"),
        pytest.param("Kill", 1, "App", "Killed", id="a driver that was killed"),
    ],
)
def test_how_a_driver_ends_decides_the_exit_code(experiment, run, end, code, failed, reason):
    experiment.rollout("one", end=end)
    got, printed = run()
    assert got == code
    assert experiment.status("RolloutJob/one")["status"]["exit"]["class"] == failed
    assert experiment.conditions("RolloutJob/one")["Failed"] == ("True", reason)
    assert "abcdef123456" not in printed + experiment.status("RolloutJob/one")["status"]["exit"]["message"]


def test_a_mistake_found_before_anything_was_written_can_be_corrected_in_the_same_workdir(experiment, run):
    experiment.rollout("one", end="EarlyUserError")
    assert run()[0] == 2
    assert not (experiment.workdir / "out").exists(), "no artifacts, not even an exit record"
    experiment.wish("RolloutJob/one", end="Success")
    experiment.change("RolloutJob/one", sampling={"seed": 5})
    assert run()[0] == 0


def test_a_workdir_of_other_manifests_is_refused_with_what_differs(experiment, run, tmp_path):
    experiment.rollout("one")
    assert run()[0] == 0
    experiment.change("RolloutJob/one", sampling={"seed": 5, "temperature": 0.5}, suspend=False, backoffLimit=9)
    with pytest.raises(UserError) as refusal:
        run()
    line = str(refusal.value)
    assert "spec.sampling.seed: 17 there, 5 here" in line
    assert "spec.sampling.temperature: 1.0 there, 0.5 here" in line
    assert "backoffLimit" not in line, "lifecycle may change"
    experiment.change("RolloutJob/one", sampling={})
    code, printed = run("rlj/one.spec.backoffLimit=4")
    assert code == 0, printed
    (tmp_path / "others").mkdir()
    others = Experiment(tmp_path / "others")
    others.rollout("two")
    (others.folder / "jobs.yaml").replace(experiment.folder / "jobs.yaml")
    with pytest.raises(UserError, match="it holds RolloutJob/one, and these are RolloutJob/two"):
        run()


def test_suspended_jobs_are_not_started_and_what_needs_them_waits(experiment, run):
    experiment.rollout("one")
    experiment.change("RolloutJob/one", suspend=True)
    experiment.rewrite("two", of="one")
    assert run()[0] == 0
    assert experiment.conditions("RolloutJob/one")["Suspended"] == ("True", "Suspended")
    assert experiment.conditions("RewriteJob/two")["InputsReady"] == ("False", "WaitingForInputs")
    assert experiment.conditions("RewriteJob/two")["Ready"] == ("True", "WaitingForInputs")


@pytest.mark.parametrize(
    ("limit", "code", "phase", "attempts"),
    [(2, 0, "Complete", {"current": 3, "failed": 2}), (1, 1, "Failed", {"current": 2, "failed": 2})],
)
def test_a_driver_that_dies_is_started_again_within_backoff_limit(
    experiment, run, monkeypatch, limit, code, phase, attempts
):
    monkeypatch.setattr("mora_jobs.local.record.RETRY_SECONDS", 0.01)
    experiment.rollout("one", deaths="2")
    experiment.change("RolloutJob/one", backoffLimit=limit)
    experiment.rewrite("two", of="one")
    assert run()[0] == code
    status = experiment.status("RolloutJob/one")["status"]
    assert status["phase"] == phase
    assert status["attempts"] == attempts | {"infraRestarts": 0}
    assert {past["reason"] for past in status["attemptHistory"]} == {"Killed"}
    assert len(experiment.steps("one")) == 3, "committed work is kept"
    assert experiment.phase("RewriteJob/two") == ("Complete" if code == 0 else "Stalled")


def test_the_deadline_of_the_job_leaves_no_retry(experiment, run):
    experiment.rollout("one", end="Hang")
    experiment.change("RolloutJob/one", activeDeadlineSeconds=1, backoffLimit=3)
    assert run()[0] == 1
    assert experiment.status("RolloutJob/one")["status"]["attempts"]["current"] == 1
    assert experiment.conditions("RolloutJob/one")["Failed"] == ("True", "DeadlineExceeded")


def test_a_deadline_ends_the_attempt(experiment, run):
    experiment.rollout("one", end="Hang")
    experiment.change("RolloutJob/one", attemptDeadlineSeconds=1)
    code, printed = run()
    assert code == 1
    assert "DeadlineExceeded" in printed
    assert experiment.conditions("RolloutJob/one")["Failed"] == ("True", "DeadlineExceeded")


@pytest.mark.parametrize(
    ("prepare", "line"),
    [
        pytest.param(
            lambda e: e.change("RolloutJob/one", sampling={"tempreature": 1}),
            "jobs.yaml: RolloutJob/one: spec.sampling.tempreature: unknown field; did you mean temperature?",
            id="unknown field",
        ),
        pytest.param(
            lambda e: e.rewrite("two", of="oen"),
            "RewriteJob/two: spec.source.rolloutJobRef.name: there is no RolloutJob oen; did you mean one?",
            id="reference to nothing",
        ),
        pytest.param(
            lambda e: e.change("RolloutJob/one", model={"uri": "pvc://models/llama"}),
            "spec.model.uri: `mora run` has no volumes",
            id="a volume",
        ),
        pytest.param(
            lambda e: (e.folder / "prompts.jsonl").write_text(
                '{"id": "a", "prompt": "x"}\n{"id": "a", "prompt": "y"}\n'
            ),
            "prompts.jsonl:2: id 'a' is there twice",
            id="duplicate prompt ids",
        ),
        pytest.param(
            lambda e: (e.folder / "prompts.jsonl").write_bytes(b'{"id": "a", "prompt": "x"}\n\xff\xfe\n'),
            "prompts.jsonl:2: not UTF-8",
            id="prompts that are not UTF-8",
        ),
        pytest.param(
            lambda e: e.change("RolloutJob/one", credentials=[{"name": "hf", "secretRef": {"name": "s", "key": "k"}}]),
            "RolloutJob/one: spec.credentials[hf]: the environment variable MORA_CREDENTIAL_HF is not set",
            id="a credential that is not there",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(experiment, run, prepare, line):
    experiment.rollout("one")
    prepare(experiment)
    with pytest.raises((UserError, Refused)) as refusal:
        run()
    assert line in str(refusal.value)
    assert not experiment.workdir.exists()


def test_credentials_reach_the_driver_as_clients_expect_them(experiment, run, monkeypatch):
    experiment.rollout("one", end="ShowCredentials")
    references = [
        {"name": "hf", "secretRef": {"name": "s", "key": "k"}},
        {"name": "judge-key", "as": "Env", "secretRef": {"name": "s", "key": "k"}},
    ]
    experiment.change("RolloutJob/one", credentials=references)
    monkeypatch.setenv("MORA_CREDENTIAL_HF", "hub-token-value")
    monkeypatch.setenv("MORA_CREDENTIAL_JUDGE_KEY", "judge-value")
    code, _ = run()
    assert code == 2
    message = experiment.status("RolloutJob/one")["status"]["exit"]["message"]
    assert message.startswith("credentials: hub-token-value judge-value 600")
    everything = b"".join(path.read_bytes() for path in experiment.workdir.rglob("*") if path.is_file())
    assert everything.count(b"hub-token-value") == everything.count(message.encode()), "nothing else holds the value"
