"""The progress endpoint of a run, with the reporter of the drivers at the other end."""

import httpx
import pytest
from local_experiments import Experiment

from mora_jobs import api
from mora_jobs.api import Desired, Exit, ExitClass
from mora_jobs.local.endpoint import Endpoint
from mora_jobs.local.experiment import plan
from mora_jobs.local.record import JobRecord
from mora_jobs.local.workdir import Workdir
from mora_jobs.progress.reporter import Reporter
from mora_jobs.progress.wire import Wire
from mora_jobs.stopping import Stopped


@pytest.fixture
def record(experiment: Experiment) -> JobRecord:
    experiment.rollout("one")
    workdir = Workdir(experiment.workdir)
    (step,) = plan([experiment.folder], [], [], workdir)
    with workdir.locked():
        made = JobRecord(workdir, step.resolved.job)
        made.begin(0, "sha256:0")
        yield made


@pytest.fixture
def endpoint(record: JobRecord):
    with Endpoint({record.key: record}) as endpoint:
        yield endpoint


def test_a_driver_reports_into_its_status_file_and_hears_that_it_should_stop(experiment, record, endpoint, tmp_path):
    token = tmp_path / "token"
    token.write_text(endpoint.token)
    reporter = Reporter(Wire(endpoint.url(record.key, 1), str(token)), interval=0.01)
    endpoint.desired = Desired.STOP
    counts = api.RolloutResult.model_validate({"rollouts": {"samples": 8}})

    def work_for_ever():
        while True:
            reporter.update(1, 4, "Prompts", counts, {"generated_tokens_per_second": 12.5}, stage="Rollouts")

    with pytest.raises(Stopped):
        work_for_ever()
    ended = Exit(class_=ExitClass.INFRA, reason="Stopped")
    assert reporter.finish(None, ended)
    status = experiment.status(record.key)["status"]
    assert status["rollouts"]["samples"] == 8
    assert status["progress"]["completed"] == 1
    assert {"name": "generated_tokens_per_second", "value": "12.5"} in status["metrics"]
    assert record.exit is not None
    assert record.exit.reason == "Stopped"


@pytest.mark.parametrize(
    ("path", "token", "body", "want"),
    [
        ("RolloutJob/one/1", "wrong", b"{}", 401),
        ("RolloutJob/two/1", None, b"{}", 404),
        ("../etc/passwd", None, b"{}", 404),
        ("RolloutJob/one/2", None, b"{}", 410),
        ("RolloutJob/one/1", None, b"{", 400),
        ("RolloutJob/one/1", None, b'{"result": {"rewrites": {}}}', 400),
        ("RolloutJob/one/1", None, b'{"x": "' + b"x" * 70_000 + b'"}', 413),
        ("RolloutJob/one/1", None, b"{}", 200),
    ],
)
def test_only_reports_of_the_running_attempt_are_taken(experiment, record, endpoint, path, token, body, want):
    before = experiment.status(record.key)["status"]
    base = endpoint.url(record.key, 1).removesuffix("RolloutJob/one/1")
    headers = {"Authorization": f"Bearer {token or endpoint.token}"}
    assert httpx.post(base + path, content=body, headers=headers, trust_env=False).status_code == want
    assert experiment.status(record.key)["status"] == before


def test_reports_of_transformers_own_callback_are_understood(experiment, record, endpoint):
    body = b'{"trainerStatus": {"progressPercentage": 40, "metrics": [{"name": "loss", "value": "0.69"}]}}'
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    assert httpx.post(endpoint.url(record.key, 1), content=body, headers=headers, trust_env=False).status_code == 200
    status = experiment.status(record.key)["status"]
    assert status["progress"]["progressPercentage"] == 40
    assert status["metrics"] == [{"name": "loss", "value": "0.69"}]
