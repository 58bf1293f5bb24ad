"""OrthAlign: the directions of earlier stages, and that later ones keep out of them, under Adam too."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from mora_jobs.align.notes import Desire
from mora_jobs.align.plan import make_plan
from mora_jobs.align.projections import directions, trained_module, without
from mora_jobs.align.soup import low_rank_updates
from mora_jobs.align.worker import train


@given(st.integers(3, 12), st.integers(2, 9), st.integers(1, 3), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_directions_are_the_left_singular_vectors_of_the_product(rows, columns, rank, seed):
    chance = torch.Generator().manual_seed(seed)
    b = torch.randn(rows, rank, generator=chance)
    a = torch.randn(rank, columns, generator=chance)
    basis = directions(b, a, 1.0)
    product = b.double() @ a.double()
    assert torch.allclose(basis.T @ basis, torch.eye(basis.shape[1], dtype=torch.float64), atol=1e-10)
    assert torch.allclose(basis @ (basis.T @ product), product, atol=1e-6)
    assert basis.shape[1] == min(rows, columns, rank)


def test_a_share_keeps_the_strongest_directions():
    b, a = torch.diag(torch.tensor([3.0, 1.0, 0.1])), torch.eye(3)
    assert directions(b, a, 0.8).abs()[:, 0].tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert directions(b, a, 0.8).shape == (3, 1)
    assert directions(b, a, 0.95).shape == (3, 2)
    assert directions(b, a, 1.0).shape == (3, 3)
    assert directions(torch.zeros(3, 2), torch.zeros(2, 3), 1.0).shape == (3, 0), "nothing was learned"


def leak(optimizer: str) -> tuple[float, float]:
    """Share of B's norm inside the protected subspace after 50 steps: gradients projected, and steps projected."""
    found = []
    for project_steps in (False, True):
        chance = torch.Generator().manual_seed(0)
        basis = torch.linalg.qr(torch.randn(20, 4, dtype=torch.float64, generator=chance))[0]
        b = torch.zeros(20, 3, dtype=torch.float64, requires_grad=True)
        target = torch.randn(20, 3, dtype=torch.float64, generator=chance)
        steps = getattr(torch.optim, optimizer)([b], lr=0.01)
        for _ in range(50):
            loss = ((b - target) ** 2).sum()
            steps.zero_grad()
            loss.backward()
            if project_steps:
                steps.step()
                with torch.no_grad():
                    b.copy_(without(b, basis))
            else:
                b.grad = without(b.grad, basis)
                steps.step()
        found.append(float((basis.T @ b).norm() / b.norm()))
    return found[0], found[1]


def test_projected_gradients_are_enough_for_sgd_and_not_for_adam():
    """Check 12."""
    sgd, adam = leak("SGD"), leak("Adam")
    assert sgd[0] < 1e-12
    assert adam[0] > 0.1
    assert sgd[1] < 1e-12
    assert adam[1] < 1e-12


def test_names_of_parameters_and_of_adapter_files_meet():
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight"
    assert trained_module(name) == "base_model.model.model.layers.0.self_attn.q_proj"
    assert trained_module(name.replace("lora_B", "lora_A")) is None


def test_a_later_stage_keeps_out_of_what_the_first_one_wrote_to(make_task):
    steps = {"precision": "FP32", "perDeviceBatchSize": 4, "maxSteps": 4, "learningRate": 0.01}
    task = make_task(
        signs=lambda chance: [1, chance.choice([-1, 1])],
        trainer=steps,
        regime="Sequential",
        method={"name": "OrthAlign"},
    )
    plan = make_plan(task.spec, task.root, task.pairs)
    first, second = plan.tasks["stage-1"], plan.tasks["stage-2"]
    assert first.protected == ()
    assert second.protected == (first.policy_uri,)
    for stage in (first, second):
        train(stage, lambda note: Desire.CONTINUE)
    learned, later = (low_rank_updates(stage.store.local("policy")) for stage in (first, second))
    assert later.keys() == learned.keys()
    for module, (b, a) in learned.items():
        own = later[module][0].double()
        assert own.norm() > 0
        assert (directions(b, a, 1.0).T @ own).norm() / own.norm() < 1e-6, module
    weights = load_file(second.store.local("policy") / "adapter_model.safetensors")
    assert any(value.abs().max() > 0 for key, value in weights.items() if "lora_B" in key)
    assert json.loads(second.store.read("log.json"))[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
