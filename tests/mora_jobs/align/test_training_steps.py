"""Trainings of a tiny model in this process: the first loss, resuming, weights, the order of objectives."""

import math
import random

import pytest
import torch
from trained import Kill, adapter, run

from mora_jobs.align.notes import Desire, Note
from mora_jobs.errors import UserError


def test_the_first_loss_is_ln_2_for_every_objective(make_task):
    log = run(make_task(trainer={"precision": "FP32", "perDeviceBatchSize": 3, "maxSteps": 2}))
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert log[0]["loss/helpful"] == pytest.approx(math.log(2), abs=1e-6)
    assert log[0]["loss/harmless"] == pytest.approx(math.log(2), abs=1e-6)


def test_the_first_loss_is_ln_2_when_all_weights_are_trained(make_task):
    task = make_task(lora=None, output={"uri": "file:///unused", "save": "Full"})
    log = run(task)
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert task.store.exists("policy/model.safetensors")
    assert task.store.exists("policy/tokenizer.json")


STEPS = 7


def test_a_resumed_training_is_an_unbroken_one_step_by_step(make_task):
    settings = {
        "trainer": {
            "precision": "FP32", "perDeviceBatchSize": 2, "gradientAccumulation": 2, "maxSteps": STEPS, "learningRate": 0.01
        },
        "lora": {"rank": 4, "dropout": 0.2},
        "checkpoint": {"intervalSteps": 2, "keepLast": 1},
    }  # fmt: skip
    unbroken = make_task("unbroken", **settings)
    log = run(unbroken)
    assert len(log) == STEPS

    broken = make_task("broken", **settings)
    for step in (random.Random(11).randrange(3, STEPS), 6):
        with pytest.raises(KeyboardInterrupt):
            run(broken, [Kill(step)])
        # What a killed writer left behind has no marker, and is no checkpoint.
        broken.store.write("checkpoints/step-00000099/trained.safetensors", b"half")
    started: list[int] = []

    def report(note: Note) -> Desire:
        started.append(note.completed)
        return Desire.CONTINUE

    assert run(broken, report=report) == log
    assert min(started) > 2, "nothing that a checkpoint holds is done again"
    for name, value in adapter(unbroken).items():
        assert torch.equal(value, adapter(broken)[name])
    assert not broken.store.list("checkpoints")


def test_a_training_that_is_stopped_saves_and_goes_on(make_task):
    settings = {"trainer": {"precision": "FP32", "perDeviceBatchSize": 2, "maxSteps": 4}}
    log = run(make_task("whole", **settings))
    task = make_task("stopped", **settings)
    assert run(task, report=lambda note: Desire.STOP if note.completed == 3 else Desire.CONTINUE) == []
    assert task.store.exists("checkpoints/step-00000003/_complete.json")
    assert run(task) == log


def test_a_damaged_checkpoint_is_left_out_and_one_of_another_training_refused(make_task):
    settings = {
        "trainer": {"precision": "FP32", "perDeviceBatchSize": 2, "maxSteps": 5},
        "checkpoint": {"intervalSteps": 2},
    }
    task = make_task(**settings)
    with pytest.raises(KeyboardInterrupt):
        run(task, [Kill(5)])
    task.store.write("checkpoints/step-00000004/trained.safetensors", b"bit rot")
    seen: list[int] = []
    run(task, report=lambda note: (seen.append(note.completed), Desire.CONTINUE)[1])
    assert min(seen) == 3, "it goes on from step 2"

    other = make_task(**settings | {"lora": {"rank": 2}})
    with pytest.raises(KeyboardInterrupt):
        run(other, [Kill(3)])
    with pytest.raises(UserError, match="checkpoint of a training with other settings"):
        run(make_task(**settings | {"lora": {"rank": 8}}))


def test_an_objective_without_weight_changes_nothing(make_task):
    both = make_task("both", weights=(1.0, 0.0))
    run(both)
    alone = make_task("alone", weights=(1.0,), signs=lambda chance: [1, chance.choice([-1, 0, 1])][:1])
    run(alone)
    for name, value in adapter(both).items():
        assert torch.equal(value, adapter(alone)[name])


def test_permuting_the_objectives_permutes_the_figures_and_not_the_policy(make_task):
    def signs(chance: random.Random) -> list[int]:
        return [1, chance.choice([-1, 1])]

    first = make_task("first", weights=(0.7, 0.3), signs=signs)
    second = make_task("second", weights=(0.3, 0.7), signs=lambda chance: signs(chance)[::-1])
    log, swapped = run(first), run(second)
    for name, value in adapter(first).items():
        assert torch.allclose(value, adapter(second)[name], atol=1e-6)
    assert [row["loss/helpful"] for row in log] == pytest.approx([row["loss/harmless"] for row in swapped], abs=1e-5)


def test_opposite_signs_with_equal_weights_cancel(make_task):
    task = make_task(
        signs=lambda chance: [1, -1], trainer={"precision": "FP32", "perDeviceBatchSize": 2, "maxSteps": 1}
    )
    # One step: Adam makes a whole step of the rounding errors, and beside the reference they no longer cancel.
    assert [row["grad_norm"] for row in run(task)] == pytest.approx([0], abs=1e-5)


def test_no_pair_for_the_weights_is_the_users_mistake(make_task):
    task = make_task(weights=(0.0, 1.0), signs=lambda chance: [1, 0])
    with pytest.raises(UserError, match="no pair is left for harmless"):
        run(task)


def test_a_limit_that_no_prompt_fits_is_the_users_mistake(make_task):
    with pytest.raises(UserError, match="19 PromptTooLong"):
        run(make_task(trainer={"precision": "FP32", "maxLength": 16}))


def test_bfloat16_trains_with_fp32_adapters(make_task):
    task = make_task(trainer={"precision": "BF16", "perDeviceBatchSize": 2, "maxSteps": 3, "learningRate": 0.01})
    log = run(task)
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=0.05)
    assert all(value.dtype == torch.float32 for value in adapter(task).values())


def test_snapshots_are_kept_at_the_steps_asked_for(make_task):
    prompts = {"uri": "file:///nowhere.jsonl"}
    task = make_task(
        trainer={"precision": "FP32", "perDeviceBatchSize": 2, "maxSteps": 5},
        evaluation={"prompts": prompts, "everySteps": 2},
    )
    run(task)
    kept = sorted({path.split("/")[1] for path in task.store.list("snapshots")})
    assert kept == ["step-00000002", "step-00000004"]
