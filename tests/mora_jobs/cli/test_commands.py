"""Commands on a workdir, called as the console script calls them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mora_jobs.cli import main
from mora_jobs.local.workdir import Workdir


def condition(kind: str, message: str) -> dict:
    time = "2030-01-01T00:00:00Z"
    return {"type": kind, "status": "True", "reason": "Some", "message": message, "lastTransitionTime": time}


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """Two jobs: one complete, one that failed."""
    place = Workdir(tmp_path / "run")
    base = {"apiVersion": "mora.dev/v1alpha1", "metadata": {"creationTimestamp": "2030-01-01T00:00:00Z"}}
    complete = {
        "phase": "Complete",
        "conditions": [condition("Ready", "complete")],
        "progress": {"progressPercentage": 100},
        "attempts": {"current": 1},
        "isolation": {"singleReward": {"helpful": 3}, "singleRewardTotal": 3, "mixed": 2},
        "rollouts": {"prompts": {"total": 8}, "samples": 32},
    }
    failed = {
        "phase": "Failed",
        "conditions": [condition("Ready", "no memory")],
        "exit": {"class": "App", "reason": "OutOfMemory", "message": "no memory", "attempt": 2},
        "attempts": {"current": 2, "failed": 2},
    }
    with place.locked():
        for kind, name, status in (("RolloutJob", "one", complete), ("RewriteJob", "two", failed)):
            metadata = base["metadata"] | {"name": name}
            spec = {"output": {"uri": "file:///out"}}
            place.write_status(base | {"kind": kind, "metadata": metadata, "spec": spec, "status": status})
        place.log_file("RolloutJob/one").write_text("first\nsecond\nthird\n")
        from datetime import UTC, datetime

        place.add_event(datetime(2030, 1, 1, tzinfo=UTC), "RolloutJob/one", "Running", "attempt 1 runs")
        place.add_event(datetime(2030, 1, 1, tzinfo=UTC), "RewriteJob/two", "OutOfMemory", "no memory", warning=True)
    return place.root


@pytest.fixture
def mora(workdir, capsys):
    """Call a command on the workdir: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--workdir", str(workdir)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_get_prints_the_columns_of_kubectl(mora):
    code, out, _ = mora("get")
    assert code == 0
    assert out.split("\n")[0].split() == ["NAME", "PHASE", "PROGRESS", "ATTEMPT", "GPUS", "SINGLE-REWARD", "AGE"]
    assert "RolloutJob/one" in out
    assert "RewriteJob/two" in out
    assert mora("get", "rlj", "-o", "name")[1] == "RolloutJob/one\n"
    assert "no memory" in mora("get", "rewritejobs", "-o", "wide")[1]
    assert json.loads(mora("get", "-o", "json")[1])["kind"] == "List"
    assert yaml.safe_load(mora("get", "RewriteJob/two", "-o", "yaml")[1])["status"]["phase"] == "Failed"


def test_status_tells_results_and_fails_with_the_job(mora):
    code, out, _ = mora("status", "RolloutJob/one")
    assert code == 0
    assert "32 rollouts of 8 prompts" in out
    assert "single-reward 3 (helpful 3)" in out
    code, out, _ = mora("status", "rwj/two")
    assert code == 1
    assert "App/OutOfMemory: no memory" in out


def test_logs_and_events(mora):
    assert mora("logs", "rlj/one")[1] == "first\nsecond\nthird\n"
    assert mora("logs", "rlj/one", "--tail", "1", "--follow")[1] == "third\n"
    assert [e["reason"] for e in json.loads(mora("events", "-o", "json")[1])] == ["Running", "OutOfMemory"]
    assert "OutOfMemory" not in mora("events", "rlj/one")[1]
    assert "Warning" in mora("events", "rwj/two")[1]


def test_watch_ends_when_all_jobs_have_ended(mora):
    code, out, _ = mora("watch")
    assert code == 1
    assert out.splitlines() == ["RolloutJob/one Complete in 0 s", "RewriteJob/two Failed no memory"]
    assert mora("watch", "rlj/one")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["status", "one"], "one: is not of the form KIND/NAME; e.g. RolloutJob/helpful or rlj/helpful"),
        (["status", "RoloutJob/one"], "RoloutJob: is no kind of job; did you mean RolloutJob?"),
        (["status", "rlj/ones"], "there is no RolloutJob/ones; did you mean RolloutJob/one?"),
        (["logs", "rwj/two"], "RewriteJob/two: has no log yet: its driver was not started"),
        (["get", "-n", "research"], "--workdir: goes without the options of a cluster"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(mora, arguments, line):
    code, out, err = mora(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("mora: ")
    assert err.count("\n") == 1
    assert line in err


def test_a_folder_that_is_no_workdir(tmp_path, capsys):
    assert main(["get", "--workdir", str(tmp_path)]) == 2
    assert main(["report", str(tmp_path)]) == 2
    assert main(["report", "runs/none"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [("is no workdir of `mora run`" in line, "nor KIND/NAME" in line) for line in lines] == [
        (True, False), (False, True), (False, True)
    ]  # fmt: skip


def test_a_cluster_that_is_not_there_is_one_line_and_exit_code_3(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert main(["get"]) == 3
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "current-context": "c",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    assert main(["get", "--kubeconfig", str(tmp_path / "kubeconfig")]) == 3
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("mora: no cluster is configured")
    assert second.startswith("mora: the cluster cannot be reached: ")


def test_validate_prints_a_line_for_each_fault(tmp_path, capsys):
    folder = tmp_path / "jobs.yaml"
    job = {"apiVersion": "mora.dev/v1alpha1", "kind": "RolloutJob", "metadata": {"name": "one"}, "spec": {"modle": 1}}
    folder.write_text(yaml.safe_dump(job))
    assert main(["validate", "-f", str(folder)]) == 2
    err = capsys.readouterr().err
    assert f"{folder}: RolloutJob/one: spec.modle: unknown field; did you mean model?" in err
    assert len(err.splitlines()) > 3
    assert main(["run", "-f", str(folder), "--workdir", str(tmp_path / "w")]) == 2
    assert capsys.readouterr().err == err
    assert not (tmp_path / "w").exists()


def test_crd_prints_what_is_generated(capsys):
    assert main(["crd"]) == 0
    names = [each["metadata"]["name"] for each in yaml.safe_load_all(capsys.readouterr().out)]
    assert names == ["rolloutjobs.mora.dev", "rewritejobs.mora.dev", "alignmentjobs.mora.dev"]


def test_pareto_compares_every_two_fronts(tmp_path, capsys):
    for name, shift in (("a", 0.0), ("b", 0.1), ("c", 0.2)):
        points = [
            {"name": f"p{i}", "values": {"helpful": 0.2 * i + shift, "harmless": 1 - 0.2 * i}} for i in range(1, 4)
        ]
        (tmp_path / name).mkdir()
        (tmp_path / name / "pareto.json").write_text(
            json.dumps({"objectives": ["helpful", "harmless"], "points": points})
        )
    places = [str(tmp_path / name) for name in "abc"]
    assert main(["pareto", *places[:2], f"{places[2]}/pareto.json", "-o", "json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert [each["fronts"] for each in compared] == [places[:2], [places[0], f"{places[2]}/pareto.json"],
                                                     [places[1], f"{places[2]}/pareto.json"]]  # fmt: skip
    assert all(each["difference"]["value"] < 0 for each in compared)
    assert main(["pareto", *places[:2], "--reference", "0,0"]) == 0
    assert "reference point: helpful 0, harmless 0" in " ".join(capsys.readouterr().out.split())
    assert main(["pareto", places[0]]) == 2
    assert main(["pareto", places[0], str(tmp_path)]) == 2


def test_help_and_usage():
    # In a process of its own: what is imported is what makes `mora --help` slow.
    code = (
        "import sys; from mora_jobs.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as e: code = e.code\n"
        "heavy = {'pydantic', 'yaml', 'rich', 'httpx', 'kubernetes', 'torch', 'ray', 'numpy'} & set(sys.modules)\n"
        "print('HEAVY', heavy, 'CODE', code)"
    )

    def call(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)

    helped = call("--help")
    assert "HEAVY set() CODE 0" in helped.stdout
    assert "examples:" in helped.stdout
    wrong = call("run")
    assert "CODE 2" in wrong.stdout
    assert wrong.stderr == "mora run: the following arguments are required: -f/--filename; see `mora run --help`\n"
