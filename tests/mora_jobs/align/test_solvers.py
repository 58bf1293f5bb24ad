"""Min-norm points and CAGrad: against closed forms, all supports, certificates of optimality and published numbers."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mora_jobs.align.solvers.cagrad import cagrad
from mora_jobs.align.solvers.min_norm import min_norm

KINDS = ["random", "conflicting", "nearly equal", "low rank", "badly scaled", "integer"]
cases = st.tuples(st.sampled_from(KINDS), st.integers(1, 8), st.integers(0, 2**32 - 1))


def gradients(kind, objectives, seed):
    """[K, n] gradients; none of them is 0."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 12))
    g = rng.standard_normal((objectives, size))
    match kind:
        case "conflicting":
            g -= g.mean(axis=0) * rng.choice([0.9, 1 - 1e-6, 1])
        case "nearly equal":
            g = rng.standard_normal(size) + 10 ** rng.uniform(-9, -3) * g
        case "low rank":
            g = rng.standard_normal((objectives, 2)) @ rng.standard_normal((2, size))
        case "badly scaled":
            g *= 10 ** rng.uniform(-5, 5, (objectives, 1))
        case "integer":
            g = rng.integers(-2, 3, (objectives, size)).astype(float)
    return g[(g != 0).any(axis=1)] if (g != 0).any() else np.ones((objectives, size))


def best_of_all_supports(gram):
    """(α [K], αᵀGα) of the best feasible solution of the 2^K − 1 KKT systems."""
    best, lowest = None, np.inf
    for chosen in itertools.product([False, True], repeat=len(gram)):
        support = np.flatnonzero(chosen)
        system = np.ones((len(support) + 1,) * 2)
        system[:-1, :-1] = gram[np.ix_(support, support)]
        system[-1, -1] = 0
        try:
            solution = np.linalg.solve(system, np.eye(len(support) + 1)[-1])[:-1]
        except np.linalg.LinAlgError:
            continue  # dependent gradients: a smaller support does as well
        if len(support) and solution.min() >= 0:
            alpha = np.zeros(len(gram))
            alpha[support] = solution / solution.sum()
            if alpha @ gram @ alpha < lowest:
                best, lowest = alpha, alpha @ gram @ alpha
    return best, lowest


@given(cases)
@settings(max_examples=400, deadline=None)
def test_no_weights_on_the_simplex_give_a_shorter_vector(case):
    """‖x − x*‖² ≤ max_k ⟨x − g_k, x⟩ for x in the hull, so this certifies the minimum without knowing it."""
    g = gradients(*case)
    gram = g @ g.T
    alpha = min_norm(gram)
    assert alpha.min() >= 0
    assert alpha.sum() == pytest.approx(1, abs=1e-14)
    lengths = np.sqrt(gram.diagonal())
    long = alpha @ lengths
    products = gram @ alpha
    assert (alpha @ products - products <= 1e-13 * long * (long + lengths)).all()


@given(st.sampled_from(KINDS), st.integers(1, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_no_support_does_better(kind, objectives, seed):
    g = gradients(kind, objectives, seed)
    gram = g @ g.T
    alpha = min_norm(gram)
    reference, lowest = best_of_all_supports(gram)
    noise = 1e-13 * max(alpha @ np.sqrt(gram.diagonal()), reference @ np.sqrt(gram.diagonal())) ** 2
    assert alpha @ gram @ alpha <= lowest * (1 + 1e-13) + noise


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_the_weights_are_those_of_the_best_support(objectives, seed):
    g = np.random.default_rng(seed).standard_normal((objectives, 12))
    assert np.allclose(min_norm(g @ g.T), best_of_all_supports(g @ g.T)[0], atol=1e-11, rtol=0)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_two_objectives_have_the_closed_form(size, seed):
    g = np.random.default_rng(seed).standard_normal((2, size))
    (a, b), (_, d) = g @ g.T
    assert min_norm(g @ g.T)[0] == pytest.approx(np.clip((d - b) / (a + d - 2 * b), 0, 1), abs=1e-12)


@given(st.sampled_from(["random", "conflicting", "integer"]), st.integers(2, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_permuting_objectives_permutes_the_weights(kind, objectives, seed):
    g = gradients(kind, objectives, seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(g))
    preference = rng.dirichlet(np.ones(len(g)))
    assert np.allclose(min_norm(g[order] @ g[order].T), min_norm(g @ g.T)[order], atol=1e-9, rtol=0)
    for clip in (False, True):
        permuted = cagrad(g[order] @ g[order].T, preference[order], 0.4, clip) @ g[order]
        step = cagrad(g @ g.T, preference, 0.4, clip) @ g
        assert np.allclose(permuted, step, atol=1e-6 * np.abs(g).max(), rtol=0)


@pytest.mark.parametrize("objectives", range(1, 9))
def test_identical_gradients_have_exactly_equal_weights(objectives):
    g = np.tile(np.random.default_rng(objectives).standard_normal(1000), (objectives, 1))
    assert min_norm(g @ g.T).tolist() == [1 / objectives] * objectives


@given(st.integers(2, 5), st.integers(2, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_copies_of_an_objective_share_its_weight(objectives, copies, seed):
    g = np.random.default_rng(seed).standard_normal((objectives, 12))
    alone = min_norm(g @ g.T)
    together = np.vstack([g] + [g[:1]] * (copies - 1))
    weights = min_norm(together @ together.T)
    shares = weights[[0, *range(objectives, len(together))]]
    assert len(set(shares)) == 1
    assert np.allclose(shares, alone[0] / copies, atol=1e-12, rtol=0)
    assert np.allclose(weights[1:objectives], alone[1:], atol=1e-11, rtol=0)


@pytest.mark.parametrize(
    ("g", "wanted"),
    [
        pytest.param([[3.0]], [1], id="one objective"),
        pytest.param([[0.0, 0.0]], [1], id="one objective without a gradient"),
        pytest.param([[1, 0], [0, 0], [5, 5]], [0, 1, 0], id="a gradient of 0 is the shortest vector"),
        pytest.param([[0, 0], [1, 0], [0, 0]], [0.5, 0, 0.5], id="several of 0 share"),
        pytest.param([[1, 0], [0, 1], [-1, 0], [0, -1]], [0.25] * 4, id="0 inside the hull of a square"),
        pytest.param([[1, 0], [1, 0], [0, 1]], [0.25, 0.25, 0.5], id="two copies"),
        pytest.param([[1], [-1], [1]], [0.25, 0.5, 0.25], id="a copy and its opposite"),
        # The least Σα_k² ‖g_k‖² with Σα_k = 1 and Σα_k g_k fixed, by hand.
        pytest.param([[-1], [1], [2]], [7 / 13, 5 / 13, 1 / 13], id="0 between gradients on a line"),
        pytest.param(
            [[1, 2], [1, 0], [1, -1], [1, -2]],
            np.array([1.24, 4.2, 1.6, 0.44]) / 7.48,
            id="on a face with more gradients than it needs",
        ),
    ],
)
def test_known_weights(g, wanted):
    g = np.array(g, dtype=float)
    assert np.allclose(min_norm(g @ g.T), wanted, atol=1e-12)
    assert np.allclose(min_norm(g @ g.T), least_noise(g), atol=1e-4)


def least_noise(g):
    """min_norm of gradients with independent noise, a millionth of their length."""
    gram = g @ g.T
    return best_of_all_supports(gram + 1e-12 * np.eye(len(g)) + np.diag(1e-6 * gram.diagonal()))[0]


@given(st.integers(3, 7), st.integers(1, 3), st.integers(0, 2**32 - 1))
@example(5, 2, 1)  # a weight that is 0 in every minimiser
@example(5, 3, 13)  # two weights that can only grow together, but for the least norm would have opposite signs
@settings(max_examples=100, deadline=None)
def test_of_several_minimisers_it_is_the_limit_of_vanishing_noise(objectives, size, seed):
    g = np.random.default_rng(seed).integers(-2, 3, (objectives, size)).astype(float)
    g[(g == 0).all(axis=1)] = 1
    assert np.allclose(min_norm(g @ g.T), least_noise(g), atol=1e-3)


@given(st.integers(1, 8), st.sampled_from([1e-30, 1e-3, 7.0, 1e30]), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_the_unit_of_the_gram_does_not_matter(objectives, unit, seed):
    g = np.random.default_rng(seed).standard_normal((objectives, 12))
    preference = np.full(objectives, 1 / objectives)
    assert np.allclose(min_norm(unit * (g @ g.T)), min_norm(g @ g.T), atol=1e-12, rtol=0)
    plain = cagrad(g @ g.T, preference, 0.4, True)
    assert np.allclose(cagrad(unit * (g @ g.T), preference, 0.4, True), plain, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("gram", "message"),
    [
        ([[1, np.nan], [np.nan, 1]], "not finite"),
        ([[np.inf]], "not finite"),
        ([[1.0, 0.0]], r"\[K, K\]"),
        ([1.0], r"\[K, K\]"),
        (np.zeros((0, 0)), r"\[K, K\]"),
    ],
)
def test_a_gram_that_is_none_is_refused(gram, message):
    with pytest.raises(ValueError, match=message):
        min_norm(gram)
    with pytest.raises(ValueError, match=message):
        cagrad(gram, [1.0], 0.4, False)


class TestLossNormalisedGradients:
    """MGDA-Decoupled (arXiv 2604.20685): α on the Gram of g_k / L_k, the step Σα_k g_k."""

    def test_orthogonal_gradients_fall_with_the_square_of_the_loss(self):
        lengths, losses = np.array([1, 2, 4]), np.array([0.69, 0.5, 0.2])
        alpha = min_norm(np.diag((lengths / losses) ** 2))
        assert np.allclose(alpha, [0.87987, 0.11551, 0.00462], atol=5e-6)
        decrease = alpha * lengths**2
        assert np.allclose(decrease / decrease[0], [1, 0.5251, 0.0840], atol=5e-5)
        assert np.allclose(decrease / decrease[0], (losses / losses[0]) ** 2, rtol=1e-12)

    @given(st.integers(2, 8), st.floats(1e-4, 10), st.integers(0, 2**32 - 1))
    @settings(max_examples=50, deadline=None)
    def test_at_equal_losses_it_is_mgda(self, objectives, loss, seed):
        g = np.random.default_rng(seed).standard_normal((objectives, 20))
        assert np.allclose(min_norm((g / loss) @ (g / loss).T), min_norm(g @ g.T), atol=1e-12, rtol=0)

    def test_strong_conflict_can_make_the_step_climb_an_objective(self):
        losses = np.array([0.69, 0.828])
        normalised = np.array([[1, -0.9], [-0.9, 1]])
        raw = normalised * losses[:, None] * losses
        assert np.allclose(raw @ min_norm(normalised), [-0.0190, 0.0857], atol=5e-5)
        mgda = raw @ min_norm(raw)
        assert np.allclose(mgda, mgda[0])
        assert mgda[0] > 0

    @pytest.mark.parametrize("power", [1, 2])
    def test_orthogonal_gradients_of_gapo_fall_with_their_length_to_the_power(self, power):
        """GAPO (arXiv 2507.01915): g_k / ‖g_k‖^p in both places."""
        lengths = np.array([1.0, 2.0, 4.0])
        alpha = min_norm(np.diag(lengths ** (2 - 2 * power)))
        decrease = alpha * lengths ** (2 - power)
        assert np.allclose(decrease / decrease[0], lengths**power)


class TestCAGrad:
    @given(cases, st.sampled_from([0.1, 0.4, 0.9, 0.99]))
    @settings(max_examples=400, deadline=None)
    def test_the_step_does_as_well_as_the_dual_allows(self, case, c):
        """min_k ⟨g_k, d⟩ for d in the ball is at most the dual's value at any p: equality certifies both."""
        g = gradients(*case)
        gram = g @ g.T / (g**2).sum(axis=1).max()
        w = np.random.default_rng(case[2]).dirichlet(np.ones(len(g)))
        lengths = np.sqrt(gram.diagonal())
        radius = c * np.sqrt(w @ gram @ w)
        moved = cagrad(gram, w, c, clip=False) - w
        if not moved.any():  # no g_0 or no g_p: a certificate needs a direction
            shortest = min_norm(gram)
            tiny = 1e-6 * max(w @ lengths, shortest @ lengths)
            assert min(np.sqrt(max(shortest @ gram @ shortest, 0)), radius) <= tiny
            return
        p = moved / moved.sum()
        length = np.sqrt(p @ gram @ p)
        value = p @ gram @ w + radius * length
        # Rounding in the Gram is felt as far as the gradients in p cancel.
        noise = 1e-13 * (1 + (p @ lengths / length) ** 2) * (w @ lengths)
        assert value - (gram @ (w + moved)).min() <= noise
        assert np.sqrt(moved @ gram @ moved) == pytest.approx(radius, rel=1e-9)

    @given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.4, 0.9]))
    @settings(max_examples=30, deadline=None)
    def test_two_objectives_are_the_best_of_a_fine_grid(self, seed, c):
        rng = np.random.default_rng(seed)
        g = rng.standard_normal((2, 3))
        gram, w = g @ g.T, rng.dirichlet([1, 1])
        share = np.linspace(0, 1, 200_001)
        radius = c * np.sqrt(w @ gram @ w)

        def objective(first):
            p = np.stack([first, 1 - first])
            return gram @ w @ p + radius * np.sqrt(np.einsum("ki,kl,li->i", p, gram, p))

        moved = cagrad(gram, w, c, clip=False) - w
        found = objective(moved[:1] / moved.sum())[0]
        lowest = objective(share).min()
        assert found <= lowest + 1e-14
        assert found == pytest.approx(lowest, abs=1e-10)

    @given(st.integers(1, 8), st.integers(0, 2**32 - 1))
    @settings(max_examples=50, deadline=None)
    def test_clipping_pulls_no_objective_harder_than_its_weight(self, objectives, seed):
        rng = np.random.default_rng(seed)
        g = rng.standard_normal((objectives, 12))
        gram, w = g @ g.T, rng.dirichlet(np.ones(objectives))
        free = cagrad(gram, w, 0.4, clip=False) - w
        clipped = np.minimum(free / free.sum(), w)
        wanted = w + 0.4 * np.sqrt((w @ gram @ w) / (clipped @ gram @ clipped)) * clipped
        assert np.allclose(cagrad(gram, w, 0.4, clip=True), wanted, rtol=1e-12)

    def test_the_step_is_the_one_that_torchjd_publishes(self):
        """The example of torchjd.aggregation.CAGrad's documentation."""
        g = np.array([[-4.0, 1, 1], [6, 1, 1]])
        assert np.allclose(cagrad(g @ g.T, [0.5, 0.5], 0.5, clip=False) @ g, [0.1835, 1.2041, 1.2041], atol=5e-5)

    def test_clipping_leaves_an_objective_without_a_weight_out(self):
        gram = np.array([[1, -0.5, 0.2], [-0.5, 2, 0.1], [0.2, 0.1, 0.3]])
        assert cagrad(gram, [0.7, 0.3, 0], 0.4, clip=True)[2] == 0
        assert cagrad(gram, [0.7, 0.3, 0], 0.4, clip=False)[2] > 0

    @pytest.mark.parametrize("clip", [False, True])
    @pytest.mark.parametrize(
        ("g", "w", "c", "wanted"),
        [
            pytest.param([[1, 0], [0, 1]], [0.5, 0.5], 0, [0.5, 0.5], id="no ball"),
            pytest.param([[0, 0], [0, 0]], [0.3, 0.7], 0.4, [0.3, 0.7], id="no gradients"),
            pytest.param([[1, 0], [-1, 0]], [0.5, 0.5], 0.4, [0.5, 0.5], id="no common gradient"),
            pytest.param([[0, 0], [1, 0]], [0.5, 0.5], 0.4, [0.5, 0.5], id="no objective to improve"),
            pytest.param([[2, 0], [0, 2]], [0.5, 0.5], 0.4, [0.7, 0.7], id="symmetric objectives"),
            pytest.param([[1, 1]] * 4, [0.25] * 4, 0.4, [0.35] * 4, id="identical objectives"),
            pytest.param([[3, 0]], [1], 0.4, [1.4], id="one objective"),
        ],
    )
    def test_known_coefficients(self, g, w, c, wanted, clip):
        g = np.array(g, dtype=float)
        assert np.allclose(cagrad(g @ g.T, w, c, clip), wanted, rtol=1e-12)

    @pytest.mark.parametrize(
        ("w", "c", "message"),
        [
            ([0.5, 0.4], 0.4, "sum to 1"),
            ([1.5, -0.5], 0.4, "sum to 1"),
            ([1.0], 0.4, "2 gradients"),
            ([np.nan, 1], 0.4, "sum to 1"),
            ([0.5, 0.5], -0.1, "at least 0"),
            ([0.5, 0.5], 1, "less than 1"),
            ([0.5, 0.5], np.nan, "less than 1"),
        ],
    )
    def test_other_settings_are_refused(self, w, c, message):
        with pytest.raises(ValueError, match=message):
            cagrad(np.eye(2), w, c, False)
