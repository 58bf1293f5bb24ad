"""The methods on tables: first losses, what they converge to where that is known, permutations, objectives without weight."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tabular import Table, method

from mora_jobs.align.methods import Method, Needs
from mora_jobs.align.solvers.min_norm import min_norm
from mora_jobs.api.methods import ACCEPTS, MethodName
from mora_jobs.api.online import ONLINE

BALANCED = ["MGDA", "MGDANormalised", "MGDADecoupled", "GroupDRO", "CAGrad", "RACO"]
PAIRWISE = ["DPO", *BALANCED]
BASE = [2.0, 1.2, 0.4, -0.4, -1.2, -2.0]
EXTRA = [0.0, 0.8, 0.8, 0.4, 0.0, -0.4]
CONFLICT = [[2 * each for each in BASE], [-0.5 * each + extra for each, extra in zip(BASE, EXTRA, strict=True)]]
"""Two rewards that mostly disagree, one of them four times as strong."""


def trained(table: Table, name: str, beta: float = 0.5) -> tuple[Method, torch.Tensor]:
    """The method and the logits that it ends with. Steps of unit gradients do not shrink by themselves: they are short."""
    settings = {"groupDRO": {"stepSize": 0.1}} if name == "GroupDRO" else {}
    how = method(name, len(table.rewards), beta=beta, **settings)
    steps, rate = {"MGDANormalised": (1200, 0.05), "GroupDRO": (1200, 8.0)}.get(name, (400, 8.0))
    return how, table.train(how, steps, rate)


@pytest.fixture(autouse=True)
def one_thread():
    """Vectors of six numbers: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


OFFLINE = [name for name in MethodName if name not in ONLINE]
"""Methods on given responses; those that sample have trainers of their own (test_online_training.py)."""


@pytest.mark.parametrize("name", OFFLINE)
def test_every_method_of_the_api_can_be_made_and_accepts_something(name):
    made = method(name, 2)
    assert len(made.objectives) == len(made.weights)
    assert ACCEPTS[name].rules


@pytest.mark.parametrize("name", PAIRWISE)
def test_the_first_loss_is_ln_2_for_every_objective(name):
    table = Table(CONFLICT)
    losses = table.losses(method(name, 2), table.reference.log())
    assert losses.tolist() == pytest.approx([math.log(2)] * 2, abs=1e-15)


@pytest.mark.parametrize("beta", [0.2, 0.5, 2.0])
def test_dpo_converges_to_the_tilted_reference(beta):
    """With Bradley–Terry preferences of a reward r the minimum is π ∝ π_ref exp(r/β)."""
    table = Table([[2.0, 1.5, 0.5, -0.5, -1.0]], [0.3, 0.1, 0.2, 0.25, 0.15])
    logits = table.train(method("DPO", 1, beta=beta), 800, 4 / beta**2)
    assert torch.allclose(logits.softmax(0), table.gibbs([1.0], beta), atol=1e-4)


WANTED = {
    "DPO": (0.5110, 0.7889),
    "MGDA": (0.6775, 0.6775),
    "MGDADecoupled": (0.6775, 0.6775),
    "MGDANormalised": (0.6679, 0.6817),
    "GroupDRO": (0.6775, 0.6775),  # the worst loss is as small as it can be
    "CAGrad": (0.5110, 0.7889),
    "RACO": (0.5110, 0.7889),
}


@pytest.mark.parametrize("name", PAIRWISE)
def test_two_objectives_in_conflict_end_on_the_front_where_that_is_known(name):
    table = Table(CONFLICT)
    losses, gradients = table.gradients(*trained(table, name))
    assert losses.tolist() == pytest.approx(WANTED[name], abs=1e-4)
    alpha = min_norm((gradients @ gradients.T).numpy())
    assert np.linalg.norm(alpha @ gradients.numpy()) < 1e-4, "it is Pareto-stationary"


@pytest.mark.parametrize("name", PAIRWISE)
@given(st.permutations(range(3)), st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_permuting_the_objectives_permutes_the_coefficients(name, order, seed):
    chance = np.random.default_rng(seed)
    gradients, losses = chance.normal(size=(3, 7)), chance.uniform(0.1, 0.9, 3)
    weights = chance.dirichlet(np.ones(3))
    gram, present = gradients @ gradients.T, np.ones(3, np.bool_)
    order = list(order)
    first = method(name, 3, tuple(weights)).coefficients(losses, gram, present)
    second = method(name, 3, tuple(weights[order])).coefficients(losses[order], gram[np.ix_(order, order)], present)
    assert second == pytest.approx(first[order], abs=1e-8)


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_identical_objectives_are_one(name, count):
    gradient = np.random.default_rng(1).normal(size=9)
    gram = np.full((count, count), gradient @ gradient)
    how = method(name, count)
    found = how.coefficients(np.full(count, 0.5), gram, np.ones(count, np.bool_))
    alone = method(name, 1).coefficients(np.full(1, 0.5), gram[:1, :1], np.ones(1, np.bool_))
    assert found == pytest.approx([alone[0] / count] * count, rel=1e-12)


@pytest.mark.parametrize("name", BALANCED)
def test_an_objective_that_takes_no_part_gets_nothing_and_leaves_the_others_alone(name):
    chance = np.random.default_rng(2)
    gradients, losses = chance.normal(size=(3, 5)), np.array([0.4, 0.5, np.nan])
    gradients[2] = np.nan
    present = np.array([True, True, False])
    found = method(name, 3, (0.3, 0.3, 0.4)).coefficients(losses, gradients @ gradients.T, present)
    two = method(name, 2, (0.5, 0.5)).coefficients(losses[:2], gradients[:2] @ gradients[:2].T, present[:2])
    assert found[2] == 0
    assert found[:2] == pytest.approx(two, rel=1e-9)


@pytest.mark.parametrize("name", [name for name in BALANCED if name != "GroupDRO"])
def test_an_objective_that_has_converged_does_not_stop_the_others(name):
    gram = np.diag([1.0, 0.0])
    found = method(name, 2).coefficients(np.array([0.5, 0.2]), gram, np.ones(2, np.bool_))
    assert found[0] > 0
    assert found[1] == 0


def test_mgda_goes_down_for_all_and_decoupled_need_not():
    """Check 6: unit loss-normalised gradients with cosine −0.9 and losses 0.69, 0.828."""
    losses, cosine = np.array([0.69, 0.828]), -0.9
    normalised = np.array([[1.0, cosine], [cosine, 1.0]])
    gram = normalised * np.outer(losses, losses)
    present = np.ones(2, np.bool_)
    decoupled = method("MGDADecoupled", 2).coefficients(losses, gram, present)
    assert gram @ decoupled == pytest.approx([-0.0190, 0.0857], abs=1e-4)
    assert gram @ method("MGDA", 2).coefficients(losses, gram, present) == pytest.approx([0.0283] * 2, abs=1e-4)
    guarded = method("MGDADecoupled", 2, mgdaDecoupled={"guard": True}).coefficients(losses, gram, present)
    assert (gram @ guarded).min() > 0
    assert guarded == pytest.approx(decoupled / losses * losses.mean())


def test_mgda_decoupled_favours_high_losses_where_gradients_are_orthogonal():
    """Check 4."""
    losses, lengths = np.array([0.69, 0.5, 0.2]), np.array([1.0, 2.0, 4.0])
    gram = np.diag(lengths**2)
    alpha = method("MGDADecoupled", 3).coefficients(losses, gram, np.ones(3, np.bool_))
    assert alpha == pytest.approx([0.87987, 0.11551, 0.00462], abs=1e-5)
    fall = gram @ alpha
    assert fall / fall[0] == pytest.approx([1, 0.5251, 0.0840], abs=1e-4)


@given(st.integers(2, 5), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_mgda_decoupled_is_mgda_where_all_losses_are_equal(count, seed):
    """Check 5."""
    chance = np.random.default_rng(seed)
    gradients = chance.normal(size=(count, 9))
    losses, gram, present = np.full(count, math.log(2)), gradients @ gradients.T, np.ones(count, np.bool_)
    one, other = (method(name, count).coefficients(losses, gram, present) for name in ("MGDADecoupled", "MGDA"))
    assert one == pytest.approx(other, abs=1e-10)


def test_group_dro_moves_weight_to_the_worst_loss_and_remembers():
    how, present = method("GroupDRO", 2, groupDRO={"stepSize": 0.5}), np.ones(2, np.bool_)
    first = how.coefficients(np.array([1.0, 0.0]), None, present)
    assert first == pytest.approx(np.exp([0.5, 0.0]) / np.exp([0.5, 0.0]).sum())
    again = method("GroupDRO", 2, groupDRO={"stepSize": 0.5})
    again.restore(how.state())
    second = how.coefficients(np.array([1.0, 0.0]), None, present)
    assert again.coefficients(np.array([1.0, 0.0]), None, present) == pytest.approx(second, abs=0)
    assert second[0] > first[0]


def test_cagrad_without_a_radius_is_the_weighted_sum():
    gradients = np.random.default_rng(4).normal(size=(3, 6))
    for name in ("CAGrad", "RACO"):
        how = method(name, 3, (0.2, 0.3, 0.5), cagrad={"radius": 0.0})
        found = how.coefficients(np.full(3, 0.6), gradients @ gradients.T, np.ones(3, np.bool_))
        assert found == pytest.approx([0.2, 0.3, 0.5])


def test_only_methods_that_compare_gradients_ask_for_them():
    assert {name for name in OFFLINE if method(name, 2).needs is Needs.GRAM} == {
        "MGDA", "MGDANormalised", "MGDADecoupled", "CAGrad", "RACO",
    }  # fmt: skip
