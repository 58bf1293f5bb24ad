"""MOPO's closed forms and dual variables, on a toy whose numbers are known and on random pools."""

import dataclasses

import numpy as np
import pytest
from candidate_pools import P_BAR, Q_BAR, random_pools, reachable_bounds, toy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy.special import log_softmax, softmax

from mora_jobs.align.solvers.mopo_dual import (
    Pools,
    divergence,
    dual_objective,
    effective_sample_sizes,
    infeasible,
    ratchet,
    rates,
    solve,
    tilted,
)
from mora_jobs.align.solvers.win_rates import bradley_terry, win_rates

seeds = st.integers(0, 2**32 - 1)
temperatures = st.sampled_from([0.03, 0.08, 0.3, 1.0])


@pytest.mark.parametrize(
    ("temperature", "bound", "multiplier", "primary", "secondary", "kl", "objective"),
    [
        (0.08, 0.40, 0.6369, 0.6441, 0.4000, 0.4191, 0.610623),
        (0.08, 0.50, 1.0700, 0.5492, 0.5000, 0.2871, 0.526251),
        (0.08, 0.55, 1.3506, 0.4860, 0.5500, 0.2499, 0.466002),
        (0.08, 0.60, 1.7268, 0.4123, 0.6000, 0.2828, 0.389647),
        (0.08, 0.70, 5.8377, 0.2404, 0.7000, 1.4252, 0.126365),
        (0.30, 0.30, 0.0000, 0.6226, 0.3846, 0.1929, 0.564721),
        (0.30, 0.55, 1.5904, 0.4600, 0.5500, 0.0583, 0.442559),
    ],
)
def test_the_toy_has_its_known_solutions(temperature, bound, multiplier, primary, secondary, kl, objective):
    dual = solve(toy(), [bound], temperature)
    assert dual.multipliers == pytest.approx([multiplier], abs=5.1e-5)
    assert (dual.primary, dual.secondary[0], dual.divergence) == pytest.approx((primary, secondary, kl), abs=5.1e-5)
    assert dual.objective == pytest.approx(objective, abs=1e-6)
    assert dual.dual == pytest.approx(dual.objective, abs=1e-6)
    assert not dual.capped
    assert dual.unmet == ()
    assert dual.robust == pytest.approx(dual.secondary, abs=1e-12)
    assert np.isinf(dual.robustness).all()


def test_a_bound_above_every_candidate_is_named_before_training_and_capped_in_it():
    (fault,) = infeasible(toy(), [0.72])
    assert fault.index == 0
    assert (fault.reachable, fault.shortfall) == pytest.approx((0.7026, 0.0174), abs=1e-4)
    assert infeasible(toy(), [0.70]) == []
    dual = solve(toy(), [0.72], 0.08, cap=50)
    assert dual.multipliers.tolist() == [50]
    assert dual.capped
    assert dual.unmet == (0,)
    assert solve(toy(), [0.72], 0.08, epsilon=1e-3, cap=50).capped


def test_the_tilted_policy_is_the_known_one():
    policy = tilted(toy(), solve(toy(), [0.55], 0.08).multipliers, 0.08)
    assert policy == pytest.approx([0.0151, 0.2745, 0.4035, 0.1575, 0.1494], abs=5.1e-5)


def test_dual_ascent_reaches_the_solution_by_the_known_steps():
    multiplier, path = np.zeros(1), []
    for _ in range(50):
        multiplier = np.maximum(multiplier + 2 * (0.55 - rates(toy(), tilted(toy(), multiplier, 0.08))[1]), 0)
        path.append(float(multiplier[0]))
    assert (path[0], path[9], path[49]) == pytest.approx((0.6022, 1.3346, 1.3506), abs=5.1e-5)


def test_the_gradient_of_the_dual_is_the_slack():
    step = 1e-6
    difference = (
        dual_objective(toy(), [0.55], [1 + step], 0.08) - dual_objective(toy(), [0.55], [1 - step], 0.08)
    ) / (2 * step)
    slack = rates(toy(), tilted(toy(), [1.0], 0.08))[1][0] - 0.55
    assert (slack, difference) == pytest.approx((-0.064285, -0.064285), abs=1e-6)


def test_equation_3_as_printed_is_no_policy_and_hides_a_violated_bound():
    literal = np.exp(P_BAR / 0.08 - 1)
    assert literal.mean() == pytest.approx(1442, abs=1)
    assert (literal * Q_BAR).mean() == pytest.approx(359, abs=0.1)
    policy = tilted(toy(), [0.0], 0.08)
    assert policy.sum() == pytest.approx(1)
    assert rates(toy(), policy)[1][0] == pytest.approx(0.249, abs=5e-4)


def test_weighted_cloning_recovers_the_tilted_policy():
    pools = toy()
    policy = tilted(pools, solve(pools, [0.55], 0.08).multipliers, 0.08)
    ratio = policy / pools.reference

    def loss(logits):
        weights = pools.reference * ratio
        return -weights @ log_softmax(logits), weights.sum() * softmax(logits) - weights

    cloned = optimize.minimize(loss, np.zeros(5), jac=True, method="BFGS", options={"gtol": 1e-10}).x
    assert softmax(cloned) == pytest.approx(policy, abs=1e-6)


@pytest.mark.parametrize(
    ("relaxation", "bound", "primary"),
    [
        (0.9, 0.159, 0.763),
        (0.95, 0.211, 0.751),
        (0.99, 0.413, 0.677),
        (0.999, 0.491, 0.588),
        (0.9995, 0.495, 0.582),
        (1.0, 0.500, 0.577),
    ],
)
def test_twenty_stages_of_the_ratchet_with_a_moving_reference(relaxation, bound, primary):
    pools, bounds = toy(), np.array([0.5])
    for _ in range(20):
        dual = solve(pools, bounds, 0.08)
        pools = dataclasses.replace(pools, reference=tilted(pools, dual.multipliers, 0.08))
        bounds = ratchet(dual.robust, relaxation)
    assert (dual.bounds[0], dual.primary) == pytest.approx((bound, primary), abs=5.1e-4)


@pytest.mark.parametrize("relaxation", [0, 1.01, float("nan")])
def test_a_ratchet_relaxes_by_a_factor_of_at_most_one(relaxation):
    with pytest.raises(ValueError, match="relaxation"):
        ratchet([0.5], relaxation)


@given(seeds, st.integers(1, 3), temperatures)
@settings(max_examples=60, deadline=None)
def test_strong_duality_and_complementary_slackness(seed, objectives, temperature):
    pools = random_pools(seed, objectives)
    bounds = reachable_bounds(pools, seed)
    dual = solve(pools, bounds, temperature)
    assert dual.dual == pytest.approx(dual.objective, abs=1e-6)
    assert dual.multipliers * (dual.secondary - bounds) == pytest.approx(np.zeros(objectives), abs=1e-6)
    assert (dual.multipliers >= 0).all()
    assert (dual.secondary >= bounds - 1e-6).all()
    assert dual.unmet == ()
    assert infeasible(pools, bounds) == []


@pytest.mark.parametrize(
    ("objectives", "prompts", "candidates", "seed"), [(2, 3, 2, 842), (3, 3, 2, 429), (3, 2, 3, 17)]
)
def test_the_minimum_is_found_where_a_sharp_temperature_ends_line_searches(objectives, prompts, candidates, seed):
    pools = random_pools(seed, objectives, prompts, candidates)
    dual = solve(pools, reachable_bounds(pools, seed), 0.01)
    assert np.minimum(dual.multipliers, dual.secondary - dual.bounds) == pytest.approx(np.zeros(objectives), abs=1e-6)
    assert dual.dual == pytest.approx(dual.objective, abs=1e-6)


def test_the_policy_is_the_constrained_optimum_that_a_general_solver_finds():
    pools = random_pools(11, 2, prompts=2, candidates=4)
    bounds = reachable_bounds(pools, 5)
    dual = solve(pools, bounds, 0.3)
    assert (dual.multipliers > 0).any()
    found = optimize.minimize(
        lambda policy: 0.3 * divergence(pools, policy) - rates(pools, policy)[0],
        pools.reference,
        method="SLSQP",
        bounds=[(1e-9, 1)] * 8,
        constraints=[
            {"type": "eq", "fun": lambda policy: pools.sums(policy) - 1},
            {"type": "ineq", "fun": lambda policy: rates(pools, policy)[1] - bounds},
        ],
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert tilted(pools, dual.multipliers, 0.3) == pytest.approx(found.x, abs=1e-4)
    assert dual.objective == pytest.approx(-found.fun, abs=1e-6)


@given(seeds, temperatures)
@settings(max_examples=30, deadline=None)
def test_a_larger_multiplier_never_lowers_its_own_rate(seed, temperature):
    pools = random_pools(seed, 2)
    other = np.random.default_rng(seed).uniform(0, 2)
    path = [rates(pools, tilted(pools, [x, other], temperature))[1][0] for x in np.linspace(0, 5, 30)]
    assert (np.diff(path) >= -1e-12).all()


@given(seeds, st.sampled_from([0.0, 1e-3]))
@settings(max_examples=25, deadline=None)
def test_the_order_of_objectives_prompts_and_candidates_does_not_matter(seed, epsilon):
    pools = random_pools(seed, 3)
    bounds = reachable_bounds(pools, seed) - 0.05
    rng = np.random.default_rng(seed)
    objectives, prompts = rng.permutation(3), rng.permutation(4)
    rows = np.concatenate([prompt * 5 + rng.permutation(5) for prompt in prompts])
    shuffled = Pools(pools.prompt, pools.primary[rows], pools.secondary[rows][:, objectives], pools.reference[rows])
    one, two = solve(pools, bounds, 0.3, epsilon), solve(shuffled, bounds[objectives], 0.3, epsilon)
    assert two.multipliers == pytest.approx(one.multipliers[objectives], abs=1e-4)
    policy = tilted(pools, one.multipliers, 0.3)
    assert tilted(shuffled, two.multipliers, 0.3) == pytest.approx(policy[rows], abs=1e-4)


@given(seeds, temperatures)
@settings(max_examples=30, deadline=None)
def test_an_objective_given_twice_makes_the_same_policy(seed, temperature):
    pools = random_pools(seed, 1)
    bounds = reachable_bounds(pools, seed)
    double = dataclasses.replace(pools, secondary=np.repeat(pools.secondary, 2, axis=1))
    one, two = solve(pools, bounds, temperature), solve(double, np.repeat(bounds, 2), temperature)
    assert two.multipliers.sum() == pytest.approx(one.multipliers[0], abs=1e-4, rel=1e-4)
    assert two.objective == pytest.approx(one.objective, abs=1e-6)


def test_without_secondary_objectives_it_is_regularised_optimisation_of_the_primary():
    pools = dataclasses.replace(toy(), secondary=np.empty((5, 0)))
    dual = solve(pools, [], 0.08)
    assert dual.dual == pytest.approx(dual.objective)
    assert dual.primary == pytest.approx(rates(toy(), tilted(toy(), [0.0], 0.08))[0])
    assert infeasible(pools, []) == []


def test_a_candidate_that_the_reference_never_draws_gets_no_mass_and_cannot_meet_a_bound():
    pools = dataclasses.replace(toy(), reference=np.array([0.25, 0.25, 0.25, 0.25, 0]))
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        dual, robust = solve(pools, [0.6], 0.08), solve(pools, [0.5], 0.08, epsilon=1e-3)
    assert tilted(pools, dual.multipliers, 0.08)[4] == 0
    assert dual.robust == pytest.approx([0.6])
    assert robust.robust == pytest.approx([0.5])
    assert infeasible(pools, [0.69])[0].reachable == pytest.approx(Q_BAR[3])
    both = dataclasses.replace(toy(), secondary=np.array([[1, 0], [0, 0.8], [0, 0], [0, 0], [0.5, 0.8]]))
    assert infeasible(both, [0.4, 0.7]) == []
    (fault,) = infeasible(dataclasses.replace(both, reference=pools.reference), [0.4, 0.7])
    assert fault.index is None


def test_bounds_that_each_can_be_met_but_not_together_are_infeasible():
    values = np.array([[0.9, 0.1], [0.5, 0.4], [0.1, 0.9]])
    pools = Pools(np.zeros(3, dtype=np.intp), np.full(3, 0.5), values, np.full(3, 1 / 3))
    assert infeasible(pools, [0.4, 0.6]) == []
    (fault,) = infeasible(pools, [0.6, 0.55])
    assert (fault.index, fault.reachable) == (None, None)
    assert fault.shortfall == pytest.approx(0.075)  # half of each of the outer two: 1 of 1.15
    dual = solve(pools, [0.6, 0.55], 0.08)
    assert dual.capped
    assert dual.unmet


def test_all_bounds_out_of_reach_are_named():
    faults = infeasible(random_pools(0, 3), [0.5, 1.01, 1.2])
    assert [fault.index for fault in faults] == [1, 2]


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_joint_feasibility_is_that_of_the_policies(seed):
    """Over policies of a few prompts, the margin is the largest of min_j (R_q,j − b_j)."""
    pools = random_pools(seed, 2, prompts=3, candidates=3)
    lowest = optimize.minimize_scalar(
        lambda weight: pools.largest(pools.secondary @ np.array([weight, 1 - weight])).mean() - 0.7,
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-12},
    ).fun
    together = infeasible(pools, [0.7, 0.7])
    assert bool(together) == (lowest < -1e-6)
    if together and together[0].index is None:
        assert together[0].shortfall == pytest.approx(-lowest, abs=1e-6)


@pytest.mark.parametrize(("temperature", "size"), [(0.05, 1.7), (0.08, 2.2), (0.2, 4.5), (0.5, 7.0)])
def test_effective_sample_sizes_of_eight_bradley_terry_candidates(temperature, size):
    scores = np.random.default_rng(0).normal(size=(2000, 8, 1))
    primary = np.concatenate([win_rates(each, bradley_terry(1))[:, 0] for each in scores])
    pools = Pools(np.repeat(np.arange(2000), 8), primary, np.empty((16000, 0)), np.full(16000, 1 / 8))
    policy = tilted(pools, [], temperature)
    ratio = (policy / pools.reference).reshape(2000, 8)
    sizes = effective_sample_sizes(pools, policy)
    assert sizes == pytest.approx(ratio.sum(axis=1) ** 2 / (ratio**2).sum(axis=1))
    assert sizes.mean() == pytest.approx(size, abs=0.05)


def test_the_normaliser_belongs_to_the_prompt():
    """A prompt on which everything wins more is weighted as before; one normaliser for all would move the mass there."""
    pools = random_pools(1, 1, prompts=50)
    easy = np.where(pools.prompt == 0, 0.5, 0.0)
    lifted = dataclasses.replace(pools, primary=pools.primary + easy)
    policy = tilted(lifted, [1.0], 0.08)
    assert policy == pytest.approx(tilted(pools, [1.0], 0.08), abs=1e-12)
    assert pools.sums(policy) == pytest.approx(np.ones(50))
    weights = pools.reference * np.exp((lifted.primary + pools.secondary[:, 0]) / 0.08)
    assert pools.sums(weights / weights.sum())[0] > 0.3  # of 50 prompts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": np.array([0, 0, 1, 1, 3])}, "numbered from 0"),
        ({"prompt": np.array([1, 1, 1, 1, 1])}, "numbered from 0"),
        ({"prompt": np.array([0, 1, 0, 1, 1])}, "numbered from 0"),
        ({"primary": np.full(5, np.nan)}, "every win rate"),
        ({"secondary": np.full((5, 1), np.nan)}, "every win rate"),
        ({"secondary": np.zeros(5)}, "need win rates"),
        ({"primary": np.zeros(4)}, "need win rates"),
        ({"reference": np.full(5, 0.3)}, "sum to 1"),
        ({"reference": np.array([0.5, 0.5, 0.5, -0.5, 0])}, "sum to 1"),
        ({"reference": np.array([np.nan, 0.5, 0.5, 0, 0])}, "sum to 1"),
    ],
)
def test_wrong_pools_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(toy(), **change)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.5], 0.08), "1 secondary objectives need as many bounds"),
        (([0.5], 0.0), "must be positive"),
        (([0.5], 0.08, -0.1), "not negative"),
        (([np.nan], 0.08), "finite"),
    ],
)
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        solve(toy(), *arguments)
