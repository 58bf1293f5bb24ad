"""The driver from a finished rollout job to a front, on a tiny model and a real local Ray."""

import json
import math
import os
import random
import signal
import sys
from pathlib import Path

import pytest
import ray
import torch
from align_jobs import alignment, spread
from ray import cloudpickle
from safetensors.torch import load_file

from mora_jobs import api
from mora_jobs.align import driver, launch
from mora_jobs.align.driver import run
from mora_jobs.align.notes import Desire, Note
from mora_jobs.align.plan import Plan, make_plan
from mora_jobs.align.points import export, point_model
from mora_jobs.align.soup import updates_of
from mora_jobs.align.training import run_trainings
from mora_jobs.align.worker import train_all
from mora_jobs.artifacts.identity import is_complete
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError
from mora_jobs.generation.scores import score_table
from mora_jobs.progress.reporter import Reporter, Stopped

REWARD_CODE = """
def helpful(prompts, responses, **columns):
    return [float(len(set(r))) for r in responses]

def harmless(prompts, responses, **columns):
    return [float(-r.count("a")) for r in responses]

def held_out(prompts, responses, **columns):
    return [float(sum(map(ord, r[:5]))) for r in responses]
"""
ENGINE = {"type": "Transformers", "dtype": "Float32"}


@pytest.fixture
def make_job(make_rollouts, tiny_model, tmp_path):
    """A resolved AlignmentJob on two objectives, measured on three prompts."""
    (tmp_path / "align_rewards.py").write_text(REWARD_CODE)
    heldout = tmp_path / "heldout.jsonl"
    heldout.write_text("".join(json.dumps({"id": f"h{i}", "prompt": f"is bread {i} safe?"}) + "\n" for i in range(3)))
    rollout = make_rollouts(spread(6, 6, rewards=2))

    def make(out: str = "out", **spec) -> api.ResolvedJob:
        defaults = {
            "objectives": [{"name": "helpful"}, {"name": "harmless"}],
            "pairs": {"rule": "PerObjective"},
            "generation": {"engine": ENGINE, "sampling": {"maxTokens": 6}},
            "evaluation": {
                "prompts": {"uri": f"file://{heldout}"},
                "samplesPerPrompt": 2,
                "rewards": [{"name": "judge", "python": {"callable": "align_rewards:held_out"}}],
            },
        }
        job = alignment(f"file://{tmp_path / out}", tiny_model, **defaults | spec)
        return api.ResolvedJob(job=job, references=[rollout], import_paths=[str(tmp_path)])

    return make


def document(resolved: api.ResolvedJob) -> dict:
    return json.loads(Store(resolved.job.spec.output.uri).read("pareto.json"))


@pytest.fixture
def in_this_process(monkeypatch):
    """The driver without Ray: real trainings and exports here, and scores that depend on the policy's name alone."""

    def fake_measure(store, models, held_out, how, import_paths, reporter):
        tables = {}
        for number, name in enumerate(models):
            tables[name] = score_table(store.child(f"evaluation/{name}"), how.names)
            done = tables[name].committed()
            chance = random.Random(number)
            rows = [
                {"id": prompt.id, **{reward: [chance.random() for _ in range(2)] for reward in how.names}}
                for prompt in held_out.prompts
            ]
            tables[name].append([row for row in rows if row["id"] not in done])
        return tables

    def here(store, spec, plan, point):
        if not store.exists(f"points/{point.name}.json"):
            export(store.uri, spec, plan.tasks, point)
        return point_model(store, spec, point)

    monkeypatch.setattr(driver, "check_callables", lambda rewards, import_paths: None)  # they are never called
    monkeypatch.setattr(driver, "measure", fake_measure)
    monkeypatch.setattr(driver, "hand_over", here)
    monkeypatch.setattr(
        driver, "run_trainings", lambda plan, *_: train_all([*plan.tasks.values()], lambda note: Desire.CONTINUE)
    )


def test_a_soup_without_engines(make_job, tmp_path, caplog, in_this_process):
    check_soup(make_job, tmp_path, caplog)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_a_soup_with_engines_and_ray(make_job, tmp_path, caplog):
    check_soup(make_job, tmp_path, caplog)


def check_soup(make_job, tmp_path, caplog) -> None:
    """Trained, measured, and nothing done again that is there."""
    spec = {"front": {"strategy": "RewardedSoup", "points": 3}}
    spec["trainer"] = {"precision": "FP32", "perDeviceBatchSize": 2, "maxSteps": 2, "learningRate": 0.01}
    resolved = make_job(**spec)
    result = run(resolved, Reporter())
    found = document(resolved)
    names = ["base", "point-1", "point-2", "point-3"]
    assert [point["name"] for point in found["points"]] == names
    assert found["prompts"] == ["h0", "h1", "h2"]
    assert found["referencePoint"] == [0, 0]
    assert found["pairs"]["sides"] == {"OneModel": found["pairs"]["pairs"]}
    assert "they are off-policy" in caplog.text
    assert [objective.name for objective in result.objectives] == ["helpful", "harmless", "overall", "judge"]
    assert float(result.pareto.hypervolume) == pytest.approx(found["hypervolume"], rel=1e-5)
    assert {point.name for point in result.pareto.front} <= set(names)
    assert all(0 <= value <= 1 for point in found["points"] for value in point["values"].values())

    out = tmp_path / "out"
    experts = [updates_of(out / f"trainings/expert-{name}/policy") for name in ("helpful", "harmless")]
    middle = updates_of(out / "points/point-2")
    for module, update in middle.items():
        assert torch.allclose(update, 0.5 * experts[0][module] + 0.5 * experts[1][module], atol=1e-6)

    trained = (out / "trainings/expert-helpful/result.json").stat().st_mtime_ns
    assert run(resolved, Reporter()) == result
    store = Store(resolved.job.spec.output.uri)
    before = is_complete(store)
    for path in ("_complete.json", "status.json", "pareto.json", "points/point-2.json"):
        store.delete(path)
    assert run(resolved, Reporter()) == result
    assert is_complete(store) == before
    assert (out / "trainings/expert-helpful/result.json").stat().st_mtime_ns == trained, "nothing is trained again"


def test_stages_build_on_each_other(make_task, tiny_model, tmp_path):
    """Trained in this process; what the driver makes of the scores is tested in test_plan_and_gains."""
    root = make_task(weights=(0.5, 0.5)).root
    spec = alignment(
        root,
        tiny_model,
        objectives=[{"name": "helpful"}, {"name": "harmless"}],
        regime="Sequential",
        order=["harmless", "helpful"],
        pairs={"rule": "PerObjective"},
        output={"uri": root, "save": "Merged"},
    ).spec
    plan = make_plan(spec, root, "sha256:pairs")
    train_all(list(plan.tasks.values()), lambda note: Desire.CONTINUE)
    for point in plan.points:
        export(root, spec, plan.tasks, point)
    out = Path(root.removeprefix("file://"))
    first, second = (updates_of(out / f"trainings/stage-{n}/policy") for n in (1, 2))
    base = load_file(tiny_model / "model.safetensors")
    for stage, learned in (("stage-1", [first]), ("stage-2", [first, second])):
        merged = load_file(out / f"points/{stage}/model.safetensors")
        for module in first:
            name = module.removeprefix("base_model.model.") + ".weight"
            assert torch.allclose(merged[name], base[name] + sum(part[module] for part in learned), atol=1e-5)
    logs = [json.loads((out / f"trainings/stage-{n}/log.json").read_text()) for n in (1, 2)]
    assert [log[0]["loss"] for log in logs] == pytest.approx([math.log(2)] * 2, abs=1e-6), "its start is its reference"
    assert any(update.abs().max() > 1e-4 for update in second.values())


DIE = 99


class DeadlyBoard(launch.Board):
    """Tells the worker that reports its third step to die at once; its successor is left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.killed = False

    def pin(self, note: Note) -> int:
        if note.stage == "Training" and note.completed == 3 and not self.killed:
            self.killed = True
            return DIE
        return super().pin(note)


class Mortal:
    """A board as a worker sees it that dies when it is told to."""

    def __init__(self, board) -> None:
        self.pin, self.refuse, self._board = self, board.refuse, board

    def remote(self, note: Note):
        answer = self._board.pin.remote(note)
        if ray.get(answer) == DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


def mortal_loop(config) -> None:
    launch._loop(config | {"board": Mortal(config["board"])})


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_a_dead_worker_is_replaced_and_a_mistake_is_not_tried_again(make_task, monkeypatch):
    settings = {
        "trainer": {"precision": "FP32", "perDeviceBatchSize": 2, "maxSteps": 4, "maxFailures": 1},
        "checkpoint": {"intervalSteps": 1},
    }
    whole, broken = make_task("whole", **settings), make_task("broken", **settings)
    trainer = settings["trainer"] | {"maxLength": 16}
    hopeless = make_task("broken", name="hopeless", **settings | {"trainer": trainer})
    train_all([whole], lambda note: Desire.CONTINUE)

    # Workers cannot import this module: what they need of it travels by value.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(launch, "Board", DeadlyBoard)
    real = launch._trainer

    def mortal(*arguments):
        made = real(*arguments)
        made.train_loop_per_worker = mortal_loop
        return made

    monkeypatch.setattr(launch, "_trainer", mortal)
    with launch.Trainings(1) as trainings, pytest.raises(UserError, match=r"raise trainer\.maxLength"):
        list(trainings.run([broken, hopeless]))
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    # Bit by bit what it would have been without the death.
    assert broken.store.read("log.json") == whole.store.read("log.json")
    first, second = (load_file(task.store.local("policy") / "adapter_model.safetensors") for task in (whole, broken))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_a_job_that_is_asked_to_stop_saves_and_goes_on_where_it_was(make_task):
    class Impatient(Reporter):
        def update(self, completed, total, unit="Prompts", *args, **kwargs):
            super().update(completed, total, unit, *args, **kwargs)
            if unit == "Steps":
                self.stop()

    steps = 600  # more than a fast machine does between two looks
    task = make_task(
        trainer={"precision": "FP32", "perDeviceBatchSize": 2, "maxSteps": steps},
        checkpoint={"intervalSteps": steps},
    )
    with pytest.raises(Stopped):
        run_trainings(Plan(((task,),), ()), task.spec, Impatient())
    ((name, _),) = [path.split("/")[1:] for path in task.store.list("checkpoints") if path.endswith("_complete.json")]
    assert 0 < int(name.removeprefix("step-")) < steps
    seen: list[int] = []
    train_all([task], lambda note: (seen.append(note.completed), Desire.CONTINUE)[1])
    assert seen[0] == int(name.removeprefix("step-")) + 1
    assert seen[-1] == steps


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"objectives": [{"name": "kind"}]}, r"spec.objectives\[kind\].*no reward measures it"),
        ({"pairs": {"rule": "PerObjective", "minGap": 2}}, "no pair was found"),
        ({"front": {"strategy": "WeightGrid", "vectors": [{"name": "base", "weights": {"helpful": 1}}]}}, "name base"),
    ],
)
def test_a_mistake_is_found_before_anything_is_written(make_job, tmp_path, spec, message):
    with pytest.raises(UserError, match=message):
        run(make_job(**spec), Reporter())
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("ray_local")
def test_a_judge_that_is_not_there_is_found_before_training(make_job, tmp_path):
    judge = {"name": "judge", "python": {"callable": "align_rewards:absent"}}
    prompts = {"uri": f"file://{tmp_path}/heldout.jsonl"}
    with pytest.raises(UserError, match="absent"):
        run(make_job(evaluation={"prompts": prompts, "rewards": [judge]}), Reporter())
    assert not (tmp_path / "out").exists()
