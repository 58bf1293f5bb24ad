"""`mora` against a real API server: the commands that read and change jobs in a cluster."""

import json

import pytest
import yaml
from control_plane import Cluster

from mora_jobs.cli import main

NAMESPACE = "cli"
JOB = {
    "apiVersion": "mora.dev/v1alpha1",
    "kind": "RolloutJob",
    "metadata": {"name": "helpful"},
    "spec": {
        "model": {"uri": "hf://owner/model"},
        "prompts": {"uri": "s3://bucket/prompts.jsonl"},
        "rewards": [{"name": "helpful", "http": {"url": "http://rewards:8000"}}],
        "output": {"uri": "s3://bucket/runs/helpful"},
    },
}


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> str:
    cluster.kubectl("create", "namespace", NAMESPACE)
    return NAMESPACE


@pytest.fixture
def mora(cluster: Cluster, namespace: str, capsys: pytest.CaptureFixture[str]):
    """Call a command on the namespace: exit code, stdout, stderr."""

    def call(*arguments: str, where: str = namespace) -> tuple[int, str, str]:
        code = main([*arguments, "--kubeconfig", str(cluster.kubeconfig), "-n", where])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_the_life_of_a_job(mora, tmp_path):
    manifest = tmp_path / "job.yaml"
    manifest.write_text(yaml.safe_dump(JOB))
    assert mora("submit", "-f", str(manifest))[:2] == (0, "RolloutJob/helpful created\n")
    assert mora("submit", "-f", str(manifest))[1] == "RolloutJob/helpful unchanged\n"
    code, out, _ = mora("get")
    assert code == 0
    assert "RolloutJob/helpful" in out
    assert mora("get", "rlj", "-o", "name")[1] == "RolloutJob/helpful\n"
    assert json.loads(mora("get", "rlj/helpful", "-o", "json")[1])["spec"]["sampling"]["samplesPerPrompt"] == 16
    code, out, _ = mora("status", "rlj/helpful")
    assert code == 0
    assert "s3://bucket/runs/helpful" in out
    assert mora("suspend", "rlj/helpful")[1] == "RolloutJob/helpful suspended\n"
    assert json.loads(mora("status", "rlj/helpful", "-o", "json")[1])["spec"]["suspend"] is True
    assert mora("resume", "rlj/helpful")[1] == "RolloutJob/helpful resumed\n"
    assert mora("rerun", "rlj/helpful")[1] == "RolloutJob/helpful-2 created, output s3://bucket/runs/helpful-2\n"
    assert mora("rerun", "rlj/helpful-2")[1] == "RolloutJob/helpful-3 created, output s3://bucket/runs/helpful-3\n"
    code, out, _ = mora("rerun", "rlj/helpful", "--name", "other", "--output", "s3://bucket/other")
    assert out == "RolloutJob/other created, output s3://bucket/other\n"
    names = mora("get", "-o", "name")[1].split()
    assert names == [f"RolloutJob/{name}" for name in ("helpful", "helpful-2", "helpful-3", "other")]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["status", "rlj/none"], "mora: RolloutJob/none: there is no such object in this namespace"),
        (["suspend", "alj/none"], "mora: AlignmentJob/none: there is no such object in this namespace"),
        (["logs", "rlj/quiet"], "mora: RolloutJob/quiet: has no log yet: its driver was not started"),
        (["rerun", "rlj/quiet", "--name", "quiet"], "already exists"),
        (["rerun", "rlj/quiet", "--name", "Quiet"], "RFC 1035"),
    ],
)
def test_what_the_api_server_refuses_is_one_line(cluster, mora, arguments, line):
    cluster.apply(JOB | {"metadata": {"name": "quiet", "namespace": NAMESPACE}})
    code, out, err = mora(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert line in err


def test_a_change_of_what_is_frozen_is_refused_with_the_field(mora, tmp_path):
    manifest = tmp_path / "job.yaml"
    job = JOB | {"metadata": {"name": "frozen"}}
    manifest.write_text(yaml.safe_dump(job))
    assert mora("submit", "-f", str(manifest))[0] == 0
    manifest.write_text(yaml.safe_dump(job | {"spec": JOB["spec"] | {"sampling": {"seed": 3}}}))
    code, _, err = mora("submit", "-f", str(manifest))
    assert code == 2
    assert err.count("\n") == 1
    assert "sampling" in err


def test_events_of_a_job_and_of_what_was_made_for_it(cluster, mora):
    cluster.apply(JOB | {"metadata": {"name": "eventful", "namespace": NAMESPACE}})
    about = [
        ("RolloutJob", "eventful", "Created"),
        ("Pod", "eventful-a1-head", "Scheduled"),
        ("Pod", "eventful-b", "Not"),
    ]
    for index, (kind, name, reason) in enumerate(about):
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"e{index}", "namespace": NAMESPACE},
            "involvedObject": {"kind": kind, "name": name, "namespace": NAMESPACE},
            "type": "Normal",
            "reason": reason,
            "message": "it happened",
            "lastTimestamp": f"2030-01-01T00:00:0{index}Z",
        }
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(event))
    found = json.loads(mora("events", "rlj/eventful", "-o", "json")[1])
    assert [(each["object"], each["reason"]) for each in found] == [
        ("RolloutJob/eventful", "Created"),
        ("Pod/eventful-a1-head", "Scheduled"),
    ]


def test_a_report_of_a_job_and_of_what_it_refers_to(cluster, mora, tmp_path):
    folder = {"output": {"uri": f"file://{tmp_path}/rollout"}}  # as a volume that is mounted here, too
    cluster.apply(JOB | {"metadata": {"name": "first", "namespace": NAMESPACE}, "spec": JOB["spec"] | folder})
    spec = {
        "source": {"rolloutJobRef": {"name": "first"}},
        "rewriter": {"templates": [{"name": "all", "template": "{{ prompt }} Why?"}]},
        "output": {"uri": f"file://{tmp_path}/rewrite"},
    }
    second = {
        "apiVersion": JOB["apiVersion"],
        "kind": "RewriteJob",
        "metadata": {"name": "second", "namespace": NAMESPACE},
    }
    cluster.apply(second | {"spec": spec})
    page = tmp_path / "page.html"
    assert mora("report", "rwj/second", "-o", str(page)) == (0, f"{page}\n", "")
    text = page.read_text()
    assert "0 jobs of 2 complete" in text
    assert text.index('id="RolloutJob-first"') < text.index('id="RewriteJob-second"')
    assert "s3://bucket/prompts.jsonl" in text  # the settings
    code, _, err = mora("report", "rwj/none")
    assert (code, err.count("\n")) == (2, 1)


def test_a_namespace_without_jobs(mora):
    assert mora("get", where="empty") == (0, "", "no jobs found\n")
