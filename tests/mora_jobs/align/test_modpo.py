"""MODPO: its optimum is that of the weighted reward, whichever objective is its own, and so are soups and mixtures of tables."""

import math

import pytest
import torch
from trained import run

from mora_jobs.align import methods
from mora_jobs.align.methods import Answers
from mora_jobs.align.plan import make_plan
from mora_jobs.align.tokens import Example
from mora_jobs.api.methods import Method as MethodSpec
from mora_jobs.errors import UserError

REWARDS = torch.tensor([[2.0, 1.5, 0.5, -0.5, -1.0], [-1.5, 0.0, 0.8, 1.2, 1.5]], dtype=torch.float64)
REFERENCE = torch.tensor([0.3, 0.1, 0.2, 0.25, 0.15], dtype=torch.float64)
FIRST, SECOND = torch.combinations(torch.arange(5)).T
NAMES = ("helpful", "harmless")


def made(weights, beta: float = 0.5, primary: str = "helpful", label: int = 1, **settings):
    """MODPO on all pairs of five answers, which all objectives label for the first side (1) or for the second (−1)."""
    spec = MethodSpec.model_validate({"name": "MODPO", "beta": beta, "modpo": settings})
    method = methods.make(spec, NAMES, weights, primary)
    gaps = REWARDS[:, FIRST] - REWARDS[:, SECOND]
    examples = [
        Example(str(n), [1], [[2], [3]], (label, label), (0.0, 0.0), margins=tuple(gaps[:, n].tolist()))
        for n in range(len(FIRST))
    ]
    method.prepare(examples)
    return method


def expected_loss(for_label, logits: torch.Tensor) -> torch.Tensor:
    """Over the labels of the own objective; `for_label` has MODPO with the pairs labelled either way."""
    own = NAMES.index(for_label[1].objectives[0])
    preferred = torch.sigmoid(REWARDS[own, FIRST] - REWARDS[own, SECOND])
    policy, reference = logits.log_softmax(0), REFERENCE.log()
    sides = [torch.stack([each[FIRST], each[SECOND]], 1) for each in (policy, reference)]
    count = len(FIRST)
    tokens, index = torch.ones(count, 2), torch.arange(count)
    for_first, for_second = (
        for_label[label].losses(Answers(*sides, tokens, torch.full((count, 1), float(label)), index))
        for label in (1, -1)
    )
    return (preferred * for_first[:, 0] + (1 - preferred) * for_second[:, 0]).mean()


def minimum(weights, primary: str) -> torch.Tensor:
    for_label = {label: made(weights, primary=primary, label=label) for label in (1, -1)}
    logits = REFERENCE.log().clone().requires_grad_()
    descent = torch.optim.LBFGS(
        [logits], max_iter=600, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        descent.zero_grad()
        loss = expected_loss(for_label, logits)
        loss.backward()
        return loss

    for _ in range(4):
        descent.step(closure)
    return logits.detach().softmax(0)


def gibbs(weights, beta: float = 0.5) -> torch.Tensor:
    return (REFERENCE.log() + torch.tensor(weights, dtype=torch.float64) @ REWARDS / beta).softmax(0)


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("primary", NAMES)
def test_the_optimum_is_that_of_the_weighted_reward_and_of_soups_and_mixtures(weight, primary):
    """Check 8: MODPO = interpolated logits = product of policies = Gibbs."""
    weights = (weight, 1 - weight)
    wanted = gibbs(weights)
    assert torch.allclose(minimum(weights, primary), wanted, atol=1e-6)
    experts = [gibbs((1.0, 0.0)), gibbs((0.0, 1.0))]
    product = torch.stack([w * expert.log() for w, expert in zip(weights, experts, strict=True)]).sum(0)
    assert torch.allclose(product.softmax(0), wanted, atol=1e-12), "a decoding mixture, and a soup of logits"


def test_the_own_objective_is_the_primary_one_or_that_with_the_largest_weight():
    assert made((0.2, 0.8), primary="helpful").objectives == ("helpful",)
    assert made((0.2, 0.8), primary="").objectives == ("harmless",)


def test_the_first_loss_is_that_of_the_margins_alone():
    method = made((0.5, 0.5), scale=0.3)
    flat = torch.zeros(len(FIRST), 2, dtype=torch.float64)
    answers = Answers(flat, flat, torch.ones_like(flat), torch.ones(len(FIRST), 1), torch.arange(len(FIRST)))
    gaps = (REWARDS[1, FIRST] - REWARDS[1, SECOND]).tolist()
    assert method.losses(answers)[:, 0].tolist() == pytest.approx([math.log1p(math.exp(0.3 * gap)) for gap in gaps])


def test_gradients_agree_with_finite_differences():
    method = made((0.3, 0.7))
    reference = -5 * torch.rand(len(FIRST), 2, dtype=torch.float64)
    signs = torch.ones(len(FIRST), 1, dtype=torch.float64)
    signs[::3] = -1

    def loss(policy):
        return method.losses(Answers(policy, reference, torch.ones_like(policy), signs, torch.arange(len(FIRST))))

    policy = torch.randn(len(FIRST), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, policy)


def test_with_one_objective_it_is_dpo(make_task):
    steps = {"precision": "FP32", "perDeviceBatchSize": 4, "maxSteps": 3, "learningRate": 0.01}
    found = []
    for name in ("MODPO", "DPO"):
        task = make_task(name, weights=(1.0, 0.0), signs=lambda chance: [1, -1], trainer=steps, method={"name": name})
        found.append(run(task))
    assert [row["loss"] for row in found[0]] == [row["loss"] for row in found[1]]


def test_pairs_that_the_own_objective_has_no_opinion_about_are_not_trained_on(make_task):
    method = made((0.5, 0.5))
    with pytest.raises(UserError, match=r"spec.objectives\[helpful\]: MODPO trains on its pairs"):
        method.prepare([Example("a", [1], [[2], [3]], (0, 1), (0.0, 0.0), margins=(0.1, 0.2))])


def test_implicit_margins_come_from_policies_that_are_trained_first(make_task):
    steps = {"precision": "FP32", "perDeviceBatchSize": 4, "maxSteps": 3, "learningRate": 0.01}
    task = make_task(
        signs=lambda chance: [1, chance.choice([-1, 1])], weights=(0.6, 0.4), trainer=steps,
        method={"name": "MODPO", "modpo": {"margins": "Implicit"}},
    )  # fmt: skip
    spec = task.spec.with_changes(
        objectives=[o.with_changes(weight=w) for o, w in zip(task.spec.objectives, (0.6, 0.4), strict=True)]
    )
    plan = make_plan(spec, task.root, task.pairs)
    assert [[each.name for each in tasks] for tasks in plan.rounds] == [["margin-harmless"], ["policy"]]
    expert, point = plan.tasks["margin-harmless"], plan.tasks["policy"]
    assert expert.method.name == "DPO"
    assert expert.weights == (0.0, 1.0)
    run(expert)
    log = run(point)
    assert log[0]["loss"] != pytest.approx(math.log(2), abs=1e-4), "the margins are there from the first step on"
    assert [key for key in log[0] if key.startswith("loss/")] == ["loss/helpful"]
