"""Weight vectors over the simplex."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mora_jobs.align.simplex import even_grid, lattice, lattice_size
from mora_jobs.errors import UserError


@given(st.integers(2, 5), st.integers(0, 20))
@settings(max_examples=30, deadline=None)
def test_a_grid_has_as_many_points_as_asked_for_and_every_corner(objectives, more):
    grid = even_grid(objectives, objectives + more)
    assert len(set(grid)) == objectives + more
    assert np.allclose(np.sum(grid, axis=1), 1)
    assert min(itertools.chain.from_iterable(grid)) >= 0
    for corner in np.eye(objectives).tolist():
        assert tuple(corner) in grid


@pytest.mark.parametrize(
    ("objectives", "points", "wanted"),
    [
        (2, 5, [(1, 0), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0, 1)]),
        (3, 4, [(1, 0, 0), (1 / 3, 1 / 3, 1 / 3), (0, 1, 0), (0, 0, 1)]),
        (3, 1, [(1 / 3, 1 / 3, 1 / 3)]),
        (1, 5, [(1,)]),
        (3, 6, sorted(map(tuple, lattice(3, 2).tolist()), reverse=True)),
    ],
)
def test_known_grids(objectives, points, wanted):
    assert np.allclose(even_grid(objectives, points), wanted)


def test_fewer_points_than_corners_are_refused():
    with pytest.raises(UserError, match="2 points cannot hold the 3 corners"):
        even_grid(3, 2)


@pytest.mark.parametrize(("objectives", "divisions"), [(2, 4), (3, 3), (4, 2), (8, 2)])
def test_a_lattice_holds_all_multiples(objectives, divisions):
    brute = [point for point in itertools.product(range(divisions + 1), repeat=objectives) if sum(point) == divisions]
    points = lattice(objectives, divisions)
    assert sorted(map(tuple, (points * divisions).round().astype(int).tolist())) == sorted(brute)
    assert len(points) == lattice_size(objectives, divisions)
