import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mora_jobs.pareto.dominance import non_dominated
from mora_jobs.pareto.hypervolume import contributions, hypervolume, reference_point

KNOWN = [(1, 3), (2, 2), (3, 1), (1.5, 1.5)]


def quadratic_front(points: int) -> np.ndarray:
    """J_i = −‖x − c_i‖² with c = (0, 0), (2, 0): the front is (−4 (1 − t)², −4 t²) for t in [0, 1]."""
    t = np.linspace(0, 1, points)
    return np.stack([-4 * (1 - t) ** 2, -4 * t**2], axis=1)


def test_known_volume_and_contributions() -> None:
    assert hypervolume(KNOWN, [0, 0]) == 6.0
    assert contributions(KNOWN, [0, 0]).tolist() == [1, 1, 1, 0]


def test_quadratic_front_converges_to_its_exact_volume() -> None:
    reference = [-4, -4]
    assert hypervolume(quadratic_front(11), reference) == pytest.approx(12.744, abs=5e-4)
    errors = [40 / 3 - hypervolume(quadratic_front(n), reference) for n in (11, 101, 1001, 10_001)]
    assert all(0 < finer < coarser / 5 for coarser, finer in itertools.pairwise(errors))
    assert errors[-1] < 1e-3


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 7), st.randoms(use_true_random=False))
def test_contribution_is_what_removal_costs(dimensions: int, size: int, random) -> None:
    points = np.array([[random.randint(0, 4) for _ in range(dimensions)] for _ in range(size)], dtype=float)
    origin = np.full(dimensions, -1.0)
    whole = hypervolume(points, origin)
    front = non_dominated(points)
    got = contributions(points, origin)
    for i in range(size):
        others = points[front & (np.arange(size) != i)]
        want = whole - hypervolume(others, origin) if front[i] else 0.0
        assert got[i] == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize(
    ("points", "reference", "want"),
    [
        pytest.param([[0.3], [0.7]], [0.1], 0.6, id="one objective"),
        pytest.param([[1, 2], [-1, 5]], [0, 0], 2.0, id="below the reference counts nothing"),
        pytest.param([[-1, -1]], [0, 0], 0.0, id="all below"),
        pytest.param([[0, 0]], [0, 0], 0.0, id="on the reference"),
        pytest.param(np.zeros((0, 3)), [0, 0, 0], 0.0, id="no point"),
        pytest.param([[1] * 8, [2] * 4 + [0.5] * 4], [0] * 8, 1 + 1 - 0.5**4, id="eight objectives"),
    ],
)
def test_hypervolume_of(points: list, reference: list[float], want: float) -> None:
    assert hypervolume(points, reference) == pytest.approx(want)


def test_contributions_of_one_objective_and_of_none() -> None:
    assert contributions([[0.3], [0.7]], [0.1]) == pytest.approx([0, 0.6])
    assert contributions([[0.7], [0.7]], [0.1]).tolist() == [0, 0], "a duplicate contributes nothing"
    assert contributions(np.zeros((0, 2)), [0, 0]).tolist() == []


def test_reference_is_the_worst_of_all_groups_less_the_margin() -> None:
    groups = [[[0.5, 0.2]], [[0.1, 0.9], [0.3, 0.3]], np.zeros((0, 2))]
    assert reference_point(groups) == pytest.approx([0.09, 0.19])
    assert reference_point(groups, margin=0).tolist() == [0.1, 0.2]
    with pytest.raises(ValueError, match="at least one point"):
        reference_point([np.zeros((0, 2))])


@pytest.mark.parametrize("reference", [[0], [0, 0, 0], [0, np.nan]])
def test_a_wrong_reference_is_refused(reference: list[float]) -> None:
    with pytest.raises(ValueError, match="reference point must be 2 finite numbers"):
        hypervolume([[1, 1]], reference)
