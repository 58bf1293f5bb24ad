"""LIRE: what a prompt's candidates become, the loss, and a real training."""

import json
import math

import pytest
import torch

from mora_jobs.align import methods
from mora_jobs.align.methods import Answers
from mora_jobs.align.notes import Desire
from mora_jobs.align.tokens import Example
from mora_jobs.align.worker import train
from mora_jobs.api.methods import Method as MethodSpec


def candidate(prompt: str, number: int, *scores: float) -> Example:
    return Example(f"{prompt}#{number}", [1, 2], [[number + 3]], (1,), group=prompt, scores=(scores,))


def made(weights=(0.5, 0.5), **settings):
    spec = MethodSpec.model_validate({"name": "LIRE", "lire": settings})
    return methods.make(spec, ("helpful", "harmless"), weights)


def answers(policy: torch.Tensor, tokens: torch.Tensor | None = None) -> Answers:
    count = len(policy)
    there = torch.ones_like(policy) if tokens is None else tokens
    return Answers(policy, torch.zeros_like(policy), there, torch.ones(count, 1), torch.arange(count))


def test_the_loss_is_minus_the_expected_normalised_reward():
    method = made()
    method.prepare([candidate("q", n, u, 0.0) for n, u in enumerate((0.0, 1.0, 2.0))])
    policy = torch.tensor([[-1.0, -2.0, -4.0]], dtype=torch.float64)
    p = torch.tensor([math.exp(-0.5), math.exp(-1), math.exp(-2)], dtype=torch.float64)
    r = torch.tensor([1.0, math.exp(0.5), math.exp(1)], dtype=torch.float64)
    wanted = -float((p / p.sum()) @ (r / r.sum()))
    assert method.losses(answers(policy)).item() == pytest.approx(wanted, abs=1e-12)


def test_a_uniform_policy_has_the_loss_of_the_mean():
    """At the start of equally likely candidates it is −1/m, whatever the scores are."""
    method = made()
    method.prepare([candidate("q", n, n / 4, 1 - n / 5) for n in range(4)])
    assert method.losses(answers(torch.full((1, 4), -7.0))).item() == pytest.approx(-0.25)


def test_its_optimum_is_the_best_candidate():
    method = made((0.8, 0.2))
    method.prepare([candidate("q", n, u, 0.1) for n, u in enumerate((0.3, 0.9, 0.1))])
    logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    for _ in range(600):
        loss = method.losses(answers(logits.log_softmax(1))).sum()
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - 40 * gradient).detach().requires_grad_()
    assert logits.softmax(1)[0, 1] > 0.99


def test_gradients_agree_with_finite_differences():
    method = made()
    method.prepare([candidate("q", n, n / 4, 0.5) for n in range(4)])
    policy = torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: method.losses(answers(values)), policy)


def test_permuting_objectives_or_leaving_one_without_weight_changes_nothing():
    rows = [(0.1, 0.9), (0.5, 0.2), (0.8, 0.3)]
    policy = torch.tensor([[-1.0, -2.0, -3.0]], dtype=torch.float64)
    found = []
    for weights, order in (((0.7, 0.3), (0, 1)), ((0.3, 0.7), (1, 0))):
        method = made(weights)
        method.prepare([candidate("q", n, *(row[k] for k in order)) for n, row in enumerate(rows)])
        found.append(method.losses(answers(policy)).item())
    assert found[0] == pytest.approx(found[1], abs=1e-15)


def test_candidates_are_spread_over_the_ranking_and_short_lists_are_filled_up():
    method = made(candidates=3)
    scores = (0.9, 0.1, 0.5, 0.4, 0.6)
    long, short = method.prepare(
        [candidate("a", n, u, u) for n, u in enumerate(scores)]
        + [candidate("b", n, u, u) for n, u in enumerate((0.2, 0.7))]
    )
    assert [own[0] for own in long.scores] == [0.9, 0.1, 0.5]
    assert short.responses[2] == []
    policy = torch.tensor([[-1.0, -1.0, -1.0], [-1.0, -1.0, 0.0]])
    tokens = torch.tensor([[1, 1, 1], [1, 1, 0]])
    assert method.losses(answers(policy, tokens))[1].item() == pytest.approx(-0.5), "what is not there has no share"


def test_a_training_raises_what_scores_high(make_pool_task):
    steps = {"precision": "FP32", "perDeviceBatchSize": 5, "maxSteps": 6, "learningRate": 0.01}
    task = make_pool_task(trainer=steps, method={"name": "LIRE"})
    train(task, lambda note: Desire.CONTINUE)
    log = json.loads(task.store.read("log.json"))
    assert log[-1]["loss"] < log[0]["loss"] < 0
    assert log[0]["loss/listwise"] == pytest.approx(log[0]["loss"], rel=1e-6)
