"""Losses of the methods, what they converge to where that is known, and the hook for methods that look at gradients."""

import json
import math
from typing import ClassVar

import pytest
import torch

from mora_jobs.align import methods
from mora_jobs.align.methods.dpo import DPO
from mora_jobs.align.notes import Desire
from mora_jobs.align.worker import train
from mora_jobs.api import PairRule
from mora_jobs.api.training import Method, MethodName


def test_dpo_is_the_logistic_loss_of_the_signed_margin():
    losses = DPO(0.5).losses(torch.tensor([2.0, -1.0]), torch.tensor([[1.0, -1.0, 0.0], [1.0, -1.0, 0.0]]))

    def wanted(x: float) -> float:
        return math.log(1 + math.exp(-x))

    rows = [[wanted(1), wanted(-1), math.log(2)], [wanted(-0.5), wanted(0.5), math.log(2)]]
    assert torch.allclose(losses, torch.tensor(rows))


@pytest.mark.parametrize("name", list(MethodName))
def test_every_method_of_the_api_can_be_made(name):
    method = methods.make(Method(name=name))
    assert method.accepts
    assert PairRule.POOL not in DPO.accepts


def test_dpo_converges_to_the_tilted_reference():
    """With Bradley–Terry preferences of a reward r the minimum is π ∝ π_ref exp(r/β)."""
    reward, beta = torch.tensor([2.0, 1.5, 0.5, -0.5, -1.0], dtype=torch.float64), 0.5
    reference = torch.tensor([0.3, 0.1, 0.2, 0.25, 0.15], dtype=torch.float64)
    first, second = torch.combinations(torch.arange(5)).T
    preferred = torch.sigmoid(reward[first] - reward[second])
    logits = reference.log().clone().requires_grad_()
    descent = torch.optim.LBFGS([logits], max_iter=300, tolerance_grad=1e-12, tolerance_change=0)
    signs = torch.tensor([[1.0, -1.0]], dtype=torch.float64)

    def loss() -> torch.Tensor:
        descent.zero_grad()
        ratio = logits.log_softmax(0) - reference.log()
        both = DPO(beta).losses(ratio[first] - ratio[second], signs)
        total = (preferred * both[:, 0] + (1 - preferred) * both[:, 1]).sum()
        total.backward()
        return total

    descent.step(loss)
    wanted = (reference.log() + reward / beta).softmax(0)
    assert torch.allclose(logits.detach().softmax(0), wanted, atol=1e-6)


class MinNorm:
    """MGDA for two objectives on the margins: a method as a later file would bring it."""

    accepts: ClassVar = frozenset({PairRule.PER_OBJECTIVE})

    def losses(self, margins, signs):
        return DPO(0.1).losses(margins, signs)

    def coefficients(self, losses, weights, gram):
        m = gram()
        self.seen = m
        first = ((m[1, 1] - m[0, 1]) / (m[0, 0] + m[1, 1] - 2 * m[0, 1])).clamp(0, 1)
        return torch.stack([first, 1 - first])


def test_a_method_may_choose_coefficients_by_the_gradients_of_the_objectives(make_task, monkeypatch):
    method = MinNorm()
    monkeypatch.setattr(methods, "make", lambda spec: method)
    turns = iter([[1, 1], [1, 0], [1, -1], [1, 0]] * 5)
    trainer = {"precision": "FP32", "perDeviceBatchSize": 4, "maxSteps": 1}
    task = make_task(count=4, signs=lambda chance: next(turns), trainer=trainer)
    train(task, lambda note: Desire.CONTINUE)
    # At h = 0 every pair contributes −β s / 2B: the objectives speak about 4 and 2 of the pairs, and do not conflict.
    slope = (0.1 / (2 * 4)) ** 2
    assert torch.allclose(method.seen, slope * torch.tensor([[4.0, 0.0], [0.0, 2.0]]), rtol=1e-4, atol=1e-9)
    (row,) = json.loads(task.store.read("log.json"))
    assert row["coefficient/helpful"] == pytest.approx(1 / 3, abs=1e-4)
    assert row["coefficient/harmless"] == pytest.approx(2 / 3, abs=1e-4)
