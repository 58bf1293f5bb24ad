"""Methods that balance objectives, in real trainings: exact gradients against plain ones, margins, state, what is left out."""

import math

import numpy as np
import pytest
import torch
from trained import Kill, adapter, run

from mora_jobs.align.methods.mgda import MGDA
from mora_jobs.align.methods.pairwise import Pairwise
from mora_jobs.align.task import Task

BALANCED = ["MGDA", "MGDANormalised", "MGDADecoupled", "GroupDRO", "CAGrad", "RACO"]
STEPS = {"precision": "FP32", "perDeviceBatchSize": 2, "gradientAccumulation": 2, "maxSteps": 3, "learningRate": 0.01}


def same(one: Task, other: Task) -> bool:
    second = adapter(other)
    return all(torch.equal(value, second[name]) for name, value in adapter(one).items())


def mixed(chance) -> list[int]:
    return [1, chance.choice([-1, 1, 0])]


def settings(name: str, **method) -> dict[str, object]:
    return {"trainer": STEPS, "method": {"name": name, **method}}


@pytest.mark.parametrize("name", BALANCED)
def test_the_first_loss_is_ln_2_for_every_objective(make_task, name):
    log = run(make_task(signs=mixed, **settings(name)))
    for objective in ("helpful", "harmless"):
        assert log[0][f"loss/{objective}"] == pytest.approx(math.log(2), abs=2e-6)


@pytest.mark.parametrize("name", BALANCED)
@pytest.mark.parametrize("gram", ["Exact", "Margin"])
def test_two_identical_objectives_are_one_bit_for_bit(make_task, name, gram):
    both = make_task("both", signs=lambda chance: [1, 1], **settings(name, gram=gram))
    alone = make_task("alone", weights=(1.0,), signs=lambda chance: [1], **settings("DPO"))
    run(both), run(alone)
    # Unit gradients, and those of CAGrad (1 + c times as long), have another length, which Adam takes out but for its epsilon.
    if name in ("MGDANormalised", "CAGrad", "RACO"):
        second = adapter(alone)
        assert all(torch.allclose(value, second[key], atol=2e-3) for key, value in adapter(both).items())
    else:
        assert same(both, alone)


@pytest.mark.parametrize("name", ["MGDA", "MGDADecoupled", "GroupDRO", "CAGrad"])
def test_an_objective_without_weight_changes_nothing(make_task, name):
    three = make_task("three", weights=(0.5, 0.5, 0.0), signs=lambda chance: [*mixed(chance), -1], **settings(name))
    two = make_task("two", signs=mixed, **settings(name))
    run(three), run(two)
    assert same(three, two)


def test_a_single_objective_is_plain_dpo(make_task):
    for name in ("MGDA", "MGDADecoupled", "GroupDRO"):
        one = make_task(f"one-{name}", weights=(1.0,), signs=lambda chance: [1], **settings(name))
        plain = make_task("plain", weights=(1.0,), signs=lambda chance: [1], **settings("DPO"))
        run(one), run(plain)
        assert same(one, plain), name


def test_exact_gradients_with_fixed_coefficients_make_the_step_of_the_weighted_loss(make_task, monkeypatch):
    """Check 7: Σ c_k ∇L_k, summed by us, is the gradient of Σ c_k L_k."""
    monkeypatch.setattr(MGDA, "balance", lambda self, losses, gram, weights: np.array([0.3, 0.7]))
    exact = make_task("exact", signs=mixed, **settings("MGDA"))
    plain = make_task("plain", weights=(0.3, 0.7), signs=mixed, **settings("DPO"))
    logs = run(exact), run(plain)
    for one, other in zip(*logs, strict=True):
        for figure in ("loss", "grad_norm", "loss/helpful", "loss/harmless"):
            assert one[figure] == pytest.approx(other[figure], rel=1e-4, abs=1e-6)
    second = adapter(plain)
    assert all(torch.allclose(value, second[key], atol=1e-4) for key, value in adapter(exact).items())


def test_the_gram_of_the_margins_is_that_of_the_exact_gradients_where_pairs_have_nothing_in_common(
    make_task, monkeypatch
):
    """At h = 0 a pair about objective k contributes −βs/2n_k to the chosen and the negative of it to the rejected response."""
    seen = []
    monkeypatch.setattr(MGDA, "balance", lambda self, losses, gram, weights: (seen.append(gram), weights)[1])
    turns = iter([[1, 1], [1, 0], [1, -1], [1, 0]] * 5)
    steps = {"precision": "FP32", "perDeviceBatchSize": 4, "maxSteps": 1}
    task = make_task(
        count=4, signs=lambda chance: next(turns), trainer=steps, method={"name": "MGDA", "gram": "Margin"}
    )
    run(task)
    slopes = 0.05 / np.array([4, 2])
    wanted = 2 * np.diag([4, 2]) * np.outer(slopes, slopes)
    assert seen[0] == pytest.approx(wanted, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_margins_are_controlled_by_the_exact_gradients_without_changing_the_training(make_task, accumulation):
    steps = STEPS | {"gradientAccumulation": accumulation, "maxSteps": 4}
    often, never = (
        make_task(
            f"every-{every}",
            signs=mixed,
            trainer=steps,
            method={"name": "MGDA", "gram": "Margin", "controlSteps": every},
        )
        for every in (2, 100)
    )
    log, plain = run(often), run(never)
    assert [row["step"] for row in log if "gram_cosine" in row] == [2, 4]
    assert all(-1 <= row["gram_cosine"] <= 1.0001 for row in log if "gram_cosine" in row)
    assert not any("gram_cosine" in row for row in plain)
    second = adapter(never)
    assert all(torch.allclose(value, second[key], atol=1e-4) for key, value in adapter(often).items())


def test_a_step_that_accumulates_is_weighed_as_a_whole(make_task):
    """Margins of two micro-batches of two give the coefficients of one of four."""
    coefficients = []
    for name, batch, accumulation in (("one", 4, 1), ("two", 2, 2)):
        steps = STEPS | {"perDeviceBatchSize": batch, "gradientAccumulation": accumulation, "maxSteps": 2}
        task = make_task(name, count=4, signs=mixed, trainer=steps, method={"name": "MGDA", "gram": "Margin"})
        coefficients.append([row["coefficient/helpful"] for row in run(task)])
    assert coefficients[0] == pytest.approx(coefficients[1], abs=1e-4)


@pytest.mark.parametrize("name", ["GroupDRO", "MGDADecoupled"])
def test_a_resumed_training_is_an_unbroken_one(make_task, name):
    how = {
        "method": {"name": name} | ({"groupDRO": {"stepSize": 1.0}} if name == "GroupDRO" else {}),
        "trainer": STEPS | {"maxSteps": 5},
        "checkpoint": {"intervalSteps": 2},
        "lora": {"rank": 4, "dropout": 0.1},
        "signs": mixed,
    }
    unbroken, broken = make_task("unbroken", **how), make_task("broken", **how)
    log = run(unbroken)
    with pytest.raises(KeyboardInterrupt):
        run(broken, [Kill(3)])
    assert run(broken) == log
    assert same(unbroken, broken)
    if name == "GroupDRO":
        assert len({row["coefficient/helpful"] for row in log}) == len(log), "the coefficients move"


def test_an_objective_that_is_not_a_number_is_left_out_of_the_step_and_named(make_task, monkeypatch, caplog):
    real = Pairwise.losses

    def losses(self, answers):
        return real(self, answers) * torch.tensor([1.0, math.nan])

    for name in ("MGDA", "GroupDRO"):
        monkeypatch.setattr(Pairwise, "losses", losses)
        log = run(make_task(f"nan-{name}", signs=lambda chance: [1, 1], **settings(name)))
        assert all(row["left_out/harmless"] == 1 and row["coefficient/harmless"] == 0 for row in log)
        assert all(math.isfinite(row["loss"]) for row in log)
        assert "harmless has no finite loss or gradient" in caplog.text
