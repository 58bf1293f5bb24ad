"""Experiments that are not finished, went wrong, or lost their artifacts still give a report."""

from pathlib import Path

import pytest
from invented import PROMPTS, REWARDS, Experiment
from page_reader import read

from mora_jobs import api
from mora_jobs.artifacts.store import Store
from mora_jobs.cli import main
from mora_jobs.errors import UserError
from mora_jobs.report import write
from mora_jobs.report.draw import draw
from mora_jobs.report.subject import ShownJob, Subject


def test_while_rollouts_are_drawn(experiment: Experiment) -> None:
    experiment.rollout(PROMPTS, until="Rollouts")
    page = read(write(experiment.folder))
    assert "0 jobs of 1 complete" in page.text
    assert "Rollouts: 4 of 10 prompts, about 1 min 15 s left" in page.text
    assert page.all("img") == []
    assert "last <b>line</b>" in page.pres[0]  # the log, without the terminal's colours
    assert "\x1b" not in page.text


def test_after_a_failure_there_is_why_and_what_was_measured(experiment: Experiment) -> None:
    experiment.rollout(PROMPTS, until="Scores")
    page = read(write(experiment.folder))
    assert "InvalidInput. reward 'helpful' <script>alert('status')</script> is wrong" in page.text
    assert [image["alt"].split(":")[0] for image in page.all("img")] == [f"Histogram of reward {r}" for r in REWARDS]


def test_while_a_model_is_trained(experiment: Experiment) -> None:
    experiment.alignment(until="Training")
    page = read(write(experiment.folder))
    assert "In training: truthful, step 3 of 30, loss 0.610, epoch 0.40." in page.text
    (curve,) = [image["alt"] for image in page.all("img") if image["alt"].startswith("Training, loss")]
    assert "truthful from 0.620 at step 1 to 0.610 at step 2" in curve  # up to its newest checkpoint


def test_a_job_that_never_began(experiment: Experiment) -> None:
    experiment.rollout(PROMPTS[:4], samples=4, until="Rollouts")
    spec = {
        "source": {"rolloutJobRef": {"name": "pilot"}},
        "rewriter": {"templates": [{"name": "all", "template": "{{ prompt }} Why?"}]},
        "output": {"uri": "file://runs/rewrite"},  # as the manifest has it: nothing was resolved yet
    }
    experiment.waiting(api.RewriteJob.model_validate({"metadata": {"name": "rewrite"}, "spec": spec}))
    page = read(write(experiment.folder))
    assert "waits for RolloutJob/pilot to complete" in page.text
    assert "RewriteJob" in page.text


def test_artifacts_of_another_experiment_are_not_shown(experiment: Experiment) -> None:
    """A job that was refused because its output.uri is taken must not show what lies there as its own."""
    job = experiment.rollout(PROMPTS[:4], samples=4)
    key = "RolloutJob/pilot"
    changed = job.model_copy(update={"spec": job.spec.with_changes(sampling=api.Sampling(temperature=0.1))})
    experiment.place.write_job(key, api.ResolvedJob(job=changed).dump())
    thing = experiment.place.objects()[key]
    experiment.place.write_status(thing | {"spec": changed.spec.to_dict(), "status": {"phase": "Failed"}})
    page = read(write(experiment.folder))
    assert page.all("img") == []


def test_artifacts_that_are_gone_or_damaged_are_named(experiment: Experiment) -> None:
    first = experiment.rollout(PROMPTS[:4], samples=4, name="gone")
    second = experiment.rollout(PROMPTS[:4], samples=4, name="damaged")
    Store(first.spec.output.uri).delete("job.json")
    Store(second.spec.output.uri).write("curves.json", b"{")
    page = read(write(experiment.folder))
    assert f"The artifacts are no longer at {first.spec.output.uri}." in page.text
    assert f"The artifacts cannot be read: {second.spec.output.uri}/curves.json: is damaged" in page.text


def test_artifacts_on_a_volume_of_a_cluster(tmp_path: Path) -> None:
    """As `mora report KIND/NAME` sees it from outside."""
    spec = {
        "model": {"uri": "pvc://data/model"},
        "prompts": {"uri": "pvc://data/prompts.jsonl"},
        "rewards": [{"name": "one", "http": {"url": "http://rewards"}}],
        "output": {"uri": "pvc://data/runs/a"},
    }
    status = {"phase": "Complete", "links": {"report": "pvc://data/runs/a/report.html"}}
    job = api.RolloutJob.model_validate({"metadata": {"name": "a"}, "spec": spec, "status": status})
    file = tmp_path / "page.html"
    file.write_bytes(draw(Subject("a", [ShownJob(api.ResolvedJob(job=job), job)])))
    assert "its own report there: pvc://data/runs/a/report.html." in read(file).text


def test_an_empty_workdir(tmp_path: Path) -> None:
    assert "There is no job yet." in read(write(tmp_path)).text


def test_a_damaged_status_file_is_a_mistake_to_put_right(experiment: Experiment) -> None:
    experiment.place.status_file("RolloutJob/pilot").write_text("kind: [")
    with pytest.raises(UserError, match="is damaged"):
        write(experiment.folder)
    assert not (experiment.folder / "report.html").exists()


def test_the_command_prints_the_path(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    experiment.rollout(PROMPTS[:2], samples=2, until="Rollouts")
    assert main(["report", str(experiment.folder)]) == 0
    assert capsys.readouterr().out.strip() == str(experiment.folder / "report.html")
    assert main(["report", str(experiment.folder / "nowhere")]) == 2
