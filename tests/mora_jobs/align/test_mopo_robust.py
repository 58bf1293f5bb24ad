"""MOPO's robust constraints: the least value within a KL ball, and the multipliers that meet it."""

import numpy as np
import pytest
from candidate_pools import Q_BAR, random_pools, toy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from mora_jobs.align.solvers.mopo_dual import robust_slopes, robust_value, robust_values, solve, tilted


def direct_minimum(product, base, epsilon):
    """min E_Q[product] over the KL ball, by SLSQP on Q itself."""
    found = optimize.minimize(
        lambda q: q @ product,
        base,
        jac=lambda q: product,
        method="SLSQP",
        bounds=[(1e-12, 1)] * len(base),
        constraints=[
            {"type": "eq", "fun": lambda q: q.sum() - 1, "jac": lambda q: np.ones_like(q)},
            {
                "type": "ineq",
                "fun": lambda q: epsilon - q @ np.log(q / base),
                "jac": lambda q: -np.log(q / base) - 1,
            },
        ],
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return found.fun


ROBUST = [(1e-4, 0.544937), (1e-3, 0.534008), (1e-2, 0.499641), (0.05, 0.438358), (0.15, 0.359206), (0.5, 0.213189)]


@pytest.mark.parametrize(("epsilon", "value"), ROBUST)
def test_the_robust_value_is_the_known_one_and_that_of_direct_minimisation(epsilon, value):
    policy = tilted(toy(), solve(toy(), [0.55], 0.08).multipliers, 0.08)
    worst = robust_value(policy / 0.2, Q_BAR, toy().reference, epsilon)
    assert worst.value == pytest.approx(value, abs=1e-6)
    assert direct_minimum(policy / 0.2 * Q_BAR, toy().reference, epsilon) == pytest.approx(worst.value, abs=1e-6)
    if epsilon <= 1e-2:  # χ grows like 1/√ε
        assert worst.robustness * np.sqrt(epsilon) == pytest.approx(0.25, abs=0.005)
    worst_q = toy().reference * worst.density
    assert worst_q.sum() == pytest.approx(1)
    assert worst_q @ np.log(worst.density) == pytest.approx(epsilon, rel=1e-4)
    assert worst_q @ (policy / 0.2 * Q_BAR) == pytest.approx(worst.value, abs=1e-6)


def test_the_robust_value_is_over_prompts_and_candidates_together():
    pools = random_pools(3, 1, prompts=3, candidates=3)
    policy = tilted(pools, [1.0], 0.3)
    (worst,) = robust_values(pools, policy, 0.05)
    product = policy / pools.reference * pools.secondary[:, 0]
    assert direct_minimum(product, pools.reference / 3, 0.05) == pytest.approx(worst.value, abs=1e-6)


@pytest.mark.parametrize(
    ("epsilon", "value", "robustness"),
    [
        pytest.param(0, 0.55, np.inf, id="a ball of no size is the expectation"),
        pytest.param(9, 0.013344, 0.0, id="a ball that holds every distribution is the least value"),
    ],
)
def test_the_ends_of_the_robust_value(epsilon, value, robustness):
    policy = tilted(toy(), solve(toy(), [0.55], 0.08).multipliers, 0.08)
    worst = robust_value(policy / 0.2, Q_BAR, toy().reference, epsilon)
    assert (worst.value, worst.robustness) == (pytest.approx(value, abs=1e-6), robustness)


def test_the_slopes_of_robust_values_are_their_differences():
    pools, step, at = random_pools(5, 3), 1e-5, np.array([0.3, 0.1, 0.6])

    def values(multipliers):
        return robust_values(pools, tilted(pools, multipliers, 0.3), 0.01)

    slopes = robust_slopes(pools, tilted(pools, at, 0.3), values(at), 0.3)
    for k, change in enumerate(np.eye(3) * step):
        pairs = zip(values(at + change), values(at - change), strict=True)
        assert slopes[:, k] == pytest.approx([(up.value - down.value) / (2 * step) for up, down in pairs], abs=1e-5)


@pytest.mark.parametrize("epsilon", [1e-4, 1e-3, 1e-2])
def test_robust_constraints_are_met_with_equality_by_larger_multipliers(epsilon):
    plain, robust = solve(toy(), [0.4], 0.08), solve(toy(), [0.4], 0.08, epsilon)
    assert robust.robust == pytest.approx([0.4], abs=1e-7)
    assert robust.multipliers[0] > plain.multipliers[0]
    assert robust.secondary[0] > 0.4
    assert robust.dual >= robust.objective
    assert robust.unmet == ()


def test_a_robust_constraint_that_no_multiplier_meets_is_reported_and_does_not_end_at_the_cap():
    dual = solve(toy(), [0.55], 0.08, epsilon=0.15)
    assert dual.unmet == (0,)
    assert not dual.capped
    best = max(robust_values(toy(), tilted(toy(), [x], 0.08), 0.15)[0].value for x in np.linspace(0, 10, 201))
    assert dual.robust[0] == pytest.approx(best, abs=1e-3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([1e-5, 1e-4, 1e-3]))
@settings(max_examples=30, deadline=None)
def test_the_conditions_of_robust_constraints_hold_on_random_pools(seed, objectives, epsilon):
    pools = random_pools(seed, objectives, prompts=12)
    rng = np.random.default_rng(seed)
    known = rng.uniform(0, 1, objectives) * (rng.random(objectives) < 0.7)
    values = [worst.value for worst in robust_values(pools, tilted(pools, known, 0.3), epsilon)]
    dual = solve(pools, np.array(values) - 0.02 * (known == 0), 0.3, epsilon)
    assert np.minimum(dual.multipliers, dual.robust - dual.bounds) == pytest.approx(np.zeros(objectives), abs=1e-6)
