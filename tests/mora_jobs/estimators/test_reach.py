"""The estimators against what they stand for: the average over all k-subsets, listed one by one."""

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mora_jobs.estimators.reach import balance, joint, k_grid, maximum_weights, miss_probabilities, reach

# few distinct values, so that ties are the rule, and some scores missing
LEVELS = st.sampled_from([0.0, 0.25, 0.5, 0.6, 1.0, math.nan])
FREE = st.floats(0, 1, width=32)


@st.composite
def scores(draw: st.DrawFn, values: st.SearchStrategy[float] = LEVELS) -> np.ndarray:
    n, dimensions = draw(st.integers(1, 8)), draw(st.sampled_from([1, 2, 3, 5]))
    rows = draw(st.lists(st.lists(values, min_size=dimensions, max_size=dimensions), min_size=n, max_size=n))
    return np.array(rows)


def mean_over_subsets(samples: list, k: int, figure) -> float:
    drawn = [figure(subset) for subset in combinations(samples, k)]
    return float(np.mean(drawn)) if drawn else math.nan


@settings(max_examples=150, deadline=None)
@given(scores() | scores(FREE))
def test_reach_is_the_mean_maximum_over_all_subsets(u: np.ndarray) -> None:
    ks = range(1, len(u) + 1)
    for column in u.T:
        present = [x for x in column if not math.isnan(x)]
        want = [mean_over_subsets(present, k, max) for k in ks]
        np.testing.assert_allclose(reach(column, list(ks)), want, atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(scores(), st.sampled_from([0.25, 0.5, 0.6, 0.61]))
def test_joint_is_the_share_of_subsets_with_a_hit(u: np.ndarray, tau: float) -> None:
    ks = range(1, len(u) + 1)
    hits = [all(x >= tau for x in row) for row in u if not np.isnan(row).any()]
    np.testing.assert_allclose(joint(u, tau, list(ks)), [mean_over_subsets(hits, k, any) for k in ks], atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(scores() | scores(FREE))
def test_balance_is_the_mean_best_worst_dimension(u: np.ndarray) -> None:
    ks = range(1, len(u) + 1)
    worst = [min(row) for row in u.tolist() if not np.isnan(row).any()]
    np.testing.assert_allclose(balance(u, list(ks)), [mean_over_subsets(worst, k, max) for k in ks], atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(scores(FREE), st.randoms(use_true_random=False))
def test_curves_rise_with_k_and_forget_the_order_of_samples(u: np.ndarray, random) -> None:
    order = list(range(len(u)))
    random.shuffle(order)
    ks = list(range(1, len(u) + 1))
    for figure in (lambda x: reach(x[:, 0], ks), lambda x: joint(x, 0.5, ks), lambda x: balance(x, ks)):
        curve = figure(u)
        assert (np.diff(curve) >= -1e-12).all()
        np.testing.assert_allclose(figure(u[order]), curve, atol=1e-12)
    assert reach(u[:, 0], [len(u)])[0] == u[:, 0].max()
    assert (balance(u, ks)[:, None] <= reach(u.T, ks).T + 1e-12).all(), (
        "balance never exceeds the reach of a dimension"
    )


def test_batches_of_any_shape_equal_one_by_one() -> None:
    rng = np.random.default_rng(0)
    u = rng.random((4, 3, 6, 5))
    u[rng.random(u.shape) < 0.2] = np.nan  # prompts differ in the number of samples they have
    ks = [1, 2, 6]
    for p in range(4):
        for q in range(3):
            np.testing.assert_array_equal(balance(u, ks)[p, q], balance(u[p, q], ks))
            np.testing.assert_array_equal(joint(u, 0.4, ks)[p, q], joint(u[p, q], 0.4, ks))
            np.testing.assert_array_equal(reach(u[..., 0], ks)[p, q], reach(u[p, q, :, 0], ks))


@pytest.mark.parametrize("n", [1, 2, 16, 1000, 1024])
def test_weights_equal_exact_binomials(n: int) -> None:
    ks = tuple(k_grid(n))
    weights, misses = maximum_weights(n, ks), miss_probabilities(n, ks)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)
    for row, k in enumerate(ks):
        subsets = math.comb(n, k)
        for i in {1, 2, k, (k + n) // 2, n - 1, n} & set(range(1, n + 1)):
            exact = math.comb(i - 1, k - 1) / subsets  # correctly rounded: Python divides big integers exactly
            assert weights[row, i - 1] == pytest.approx(exact, rel=1e-12, abs=1e-300)
        for c in {0, 1, 2, n // 2, n - k, n} & set(range(n + 1)):
            assert misses[c, row] == pytest.approx(math.comb(n - c, k) / subsets, rel=1e-12, abs=1e-300)


def test_1024_samples_keep_a_known_expectation() -> None:
    u = np.arange(1, 1025) / 1024
    ks = k_grid(1024)
    exact = [k * 1025 / (k + 1) / 1024 for k in ks]  # E max of k of 1 … n is k (n + 1) / (k + 1)
    np.testing.assert_allclose(reach(u, ks), exact, rtol=1e-12)


@pytest.mark.parametrize(
    ("u", "ks", "want"),
    [
        pytest.param([0.7], [1], [0.7], id="one sample"),
        pytest.param([0.7], [1, 2], [0.7, math.nan], id="more than there are is unknown"),
        pytest.param([0.5] * 8, [1, 3, 8], [0.5] * 3, id="all tied"),
        pytest.param([0.0, 0.0, 0.0, 1.0], [1, 2, 4], [0.25, 0.5, 1.0], id="one hit"),
        pytest.param([math.nan] * 3, [1, 2], [math.nan] * 2, id="all missing"),
        pytest.param([math.nan, 0.2, 0.6], [1, 2, 3], [0.4, 0.6, math.nan], id="missing is left out and caps k"),
        pytest.param([0.2, 0.6], [2, 1], [0.6, 0.4], id="any order of k"),
    ],
)
def test_reach_of(u: list[float], ks: list[int], want: list[float]) -> None:
    np.testing.assert_allclose(reach(u, ks), want, atol=1e-15)


@pytest.mark.parametrize(
    ("u", "want"),
    [
        pytest.param([[0.6, 0.6]], [1.0, math.nan], id="the level itself counts"),
        pytest.param([[0.6, np.nextafter(0.6, 0)]], [0.0, math.nan], id="just below does not"),
        pytest.param([[0.9, math.nan], [0.1, 0.1]], [0.0, math.nan], id="an incomplete sample is no hit and no miss"),
        pytest.param([[0.9, math.nan], [math.nan, 0.9]], [math.nan, math.nan], id="no complete sample"),
        pytest.param([[0.9, 0.9], [0.1, 0.9]], [0.5, 1.0], id="one of two"),
    ],
)
def test_joint_at_its_level(u: list[list[float]], want: list[float]) -> None:
    np.testing.assert_allclose(joint(u, 0.6, [1, 2]), want)


def test_joint_takes_a_level_per_dimension() -> None:
    assert joint([[0.3, 0.8]], [0.3, 0.8], [1]) == [1.0]
    assert joint([[0.3, 0.8]], [0.4, 0.8], [1]) == [0.0]


@pytest.mark.parametrize("ks", [[0], [-1, 2], [[1]]])
def test_wrong_k_is_refused(ks: list) -> None:
    with pytest.raises(ValueError, match="k must be integers"):
        reach([0.1, 0.2], ks)


def test_infinite_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        reach([0.1, math.inf], [1])


@pytest.mark.parametrize(
    ("n", "want"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (16, [1, 2, 4, 8, 16]), (24, [1, 2, 4, 8, 16, 24])],
)
def test_k_grid(n: int, want: list[int]) -> None:
    assert k_grid(n) == want


@given(st.integers(1, 100_000))
def test_k_grid_ends_at_n_within_twelve_points(n: int) -> None:
    grid = k_grid(n)
    assert grid[0] == 1
    assert grid[-1] == n
    assert len(grid) <= 12
    assert all(a < b for a, b in pairwise(grid))


def test_k_grid_needs_a_sample() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        k_grid(0)
