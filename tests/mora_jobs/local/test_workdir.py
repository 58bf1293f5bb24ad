"""The workdir: one writer, files that are whole, and clear words about damaged ones."""

from datetime import UTC, datetime

import pytest

from mora_jobs.errors import UserError
from mora_jobs.local.run import default_workdir
from mora_jobs.local.workdir import Workdir

THING = {
    "apiVersion": "mora.dev/v1alpha1",
    "kind": "RolloutJob",
    "metadata": {"name": "one"},
    "spec": {"prompts": "não 漢字"},
    "status": {"phase": "Running"},
}


def test_an_object_comes_back_as_it_was_written(tmp_path):
    workdir = Workdir(tmp_path / "w")
    assert workdir.objects() == {}
    with workdir.locked():
        workdir.write_status(THING)
        workdir.write_status(THING | {"status": {"phase": "Complete"}})
    assert workdir.objects() == {"RolloutJob/one": THING | {"status": {"phase": "Complete"}}}
    assert [path.name for path in (tmp_path / "w" / "status").iterdir()] == ["rolloutjob-one.yaml"], (
        "no temporary files"
    )


def test_only_one_run_works_in_a_workdir(tmp_path):
    first, second = Workdir(tmp_path), Workdir(tmp_path)
    assert not first.is_busy()
    with first.locked():
        assert second.is_busy()
        with pytest.raises(UserError, match=r"another `mora run` \(process [0-9]+\) is at work here"), second.locked():
            pass
    assert not second.is_busy()
    with second.locked():
        pass


@pytest.mark.parametrize(
    "text",
    ["", "kind: [", "kind: Pod\nmetadata: {name: x}\nspec: {}", "kind: RolloutJob\nmetadata: {}\nspec: {}", "a: \x00"],
)
def test_a_damaged_status_file_is_named(tmp_path, text):
    (tmp_path / "status").mkdir()
    (tmp_path / "status" / "rolloutjob-one.yaml").write_text(text)
    with pytest.raises(UserError, match=r"rolloutjob-one\.yaml: is (damaged|not the status of a job).*remove it"):
        Workdir(tmp_path).objects()


def test_half_an_event_at_the_end_is_left_out(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.add_event(datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), "RolloutJob/one", "Running", "attempt 1 runs")
    with workdir.events_file.open("a") as file:
        file.write('{"time": "2030')
    (event,) = workdir.events()
    assert event == {
        "time": "2030-01-02T03:04:05Z",
        "type": "Normal",
        "reason": "Running",
        "kind": "RolloutJob",
        "name": "one",
        "message": "attempt 1 runs",
    }


@pytest.mark.parametrize(("given", "want"), [("exp", "runs/exp"), ("exp/jobs.yaml", "runs/jobs")])
def test_the_default_workdir_has_the_name_of_the_manifests(tmp_path, monkeypatch, given, want):
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "jobs.yaml").touch()
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    assert default_workdir([Path(given)]) == Path(want)
