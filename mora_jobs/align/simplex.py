"""Weight vectors that are spread evenly over the simplex of K objectives."""

import math
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mora_jobs.errors import UserError

Vector = tuple[float, ...]


def even_grid(objectives: int, points: int) -> list[Vector]:
    """`points` weight vectors, the corners among them, by the first weight descending.

    Where a simplex lattice {w : H·w integer} has exactly that many points, they are it: for two objectives always. Else
    they are chosen from a finer lattice, corners first, each next one as far as possible from those before (for three
    objectives the fourth is the centre). One point is the centre. UserError for fewer points than corners.
    """
    if points == 1 or objectives == 1:
        return [(1 / objectives,) * objectives]
    if points < objectives:
        raise UserError(
            "spec.front.points",
            f"{points} points cannot hold the {objectives} corners of the simplex",
            f"use at least {objectives}, or give vectors of your own",
        )
    divisions = next((h for h in range(1, points) if lattice_size(objectives, h) == points), None)
    if divisions is not None:
        chosen = lattice(objectives, divisions)
    else:
        chosen = _farthest(lattice(objectives, _fine(objectives, points)), points)
    return [tuple(float(weight) for weight in vector) for vector in sorted(chosen.tolist(), reverse=True)]


def lattice_size(objectives: int, divisions: int) -> int:
    """Points of the lattice with that many divisions of an edge."""
    return math.comb(divisions + objectives - 1, objectives - 1)


def lattice(objectives: int, divisions: int) -> NDArray[np.float64]:
    """[n, K] all weight vectors whose weights are multiples of 1/divisions (Das & Dennis 1998)."""
    bars = combinations(range(divisions + objectives - 1), objectives - 1)
    counts = [np.diff([-1, *bar, divisions + objectives - 1]) - 1 for bar in bars]
    return np.asarray(counts, dtype=np.float64) / divisions


def _fine(objectives: int, points: int) -> int:
    """Divisions of a lattice with plenty of choice that holds the centre: a multiple of the objectives."""
    divisions = objectives
    while lattice_size(objectives, divisions) < 4 * points:
        divisions += objectives
    return divisions


def _farthest(candidates: NDArray[np.float64], points: int) -> NDArray[np.float64]:
    """Corners, then always the candidate whose nearest chosen point is farthest; ties go to the more balanced one."""
    order = np.lexsort((*candidates.T, candidates.max(axis=1)))
    candidates = candidates[order]
    chosen = np.eye(candidates.shape[1])
    while len(chosen) < points:
        distance = np.linalg.norm(candidates[:, None] - chosen[None], axis=2).min(axis=1)
        chosen = np.vstack([chosen, candidates[int(np.argmax(np.round(distance, 9)))]])
    return chosen
