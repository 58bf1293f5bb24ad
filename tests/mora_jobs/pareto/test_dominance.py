import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mora_jobs.pareto.dominance import coverage, dominates, non_dominated

CELLS = st.integers(0, 3)


@st.composite
def point_sets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    dimensions = draw(st.integers(1, 4))
    rows = st.lists(st.lists(CELLS, min_size=dimensions, max_size=dimensions), min_size=1, max_size=8)
    return np.array(draw(rows), dtype=float), np.array(draw(rows), dtype=float)


@given(point_sets())
def test_the_front_is_what_nothing_dominates(sets: tuple[np.ndarray, np.ndarray]) -> None:
    points, _ = sets
    want = [not any(dominates(other, point) for other in points) for point in points]
    assert non_dominated(points).tolist() == want


@given(point_sets())
def test_coverage_counts_what_is_equalled_or_dominated(sets: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = sets
    covered = [any((x == y).all() or dominates(x, y) for x in a) for y in b]
    assert coverage(a, b) == pytest.approx(np.mean(covered))
    assert coverage(a, a) == 1.0


@pytest.mark.parametrize(
    ("a", "b", "want"),
    [([1, 1], [1, 1], False), ([1, 2], [1, 1], True), ([2, 0], [1, 1], False), ([0], [1], False), ([2], [1], True)],
)
def test_dominates(a: list[float], b: list[float], want: bool) -> None:
    assert dominates(a, b) is want


def test_equal_points_are_both_on_the_front() -> None:
    assert non_dominated([[1, 3], [1, 3], [3, 1], [1, 1]]).tolist() == [True, True, True, False]
    assert non_dominated([[0.3], [0.7], [0.7]]).tolist() == [False, True, True]


def test_empty_sets() -> None:
    assert non_dominated(np.zeros((0, 2))).tolist() == []
    assert coverage(np.zeros((0, 2)), [[1, 1]]) == 0.0
    assert math.isnan(coverage([[1, 1]], np.zeros((0, 2))))


@pytest.mark.parametrize("points", [[[1, math.nan]], [[1, math.inf]], [1.0, 2.0], np.zeros((2, 0))])
def test_what_is_no_point_set_is_refused(points: list) -> None:
    with pytest.raises(ValueError, match="points must be"):
        non_dominated(points)


def test_fronts_of_different_sizes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="2 and 3 objectives"):
        coverage([[1, 1]], [[1, 1, 1]])
