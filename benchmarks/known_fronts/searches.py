"""Every method on every front, with equal runs and equal steps."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from mora_jobs.align.simplex import Vector, even_grid
from mora_jobs.pareto.hypervolume import hypervolume

from .descent import BY_THEMSELVES, BY_WEIGHTS, EVEN, PENALTIES, bounded, descend
from .front import ON, Floats, Found
from .policies import FREE, Structure
from .problems import Problem

REST = 1e-3
"""A run whose losses change by more than this, in the front's units, over the last tenth of its steps is still moving."""


def on_losses(problem: Problem, weights: int) -> dict[str, Found]:
    """By method. Run i begins at start i, with weight or bound i modulo their number where the method takes one."""
    runs = len(problem.starts)
    grid = even_grid(2, weights)
    chosen = {name: [grid[i % weights] for i in range(runs)] for name in BY_WEIGHTS}
    chosen |= {name: [EVEN] * runs for name in BY_THEMSELVES}
    found = {}
    for name, vectors in chosen.items():
        ways = [descend(problem, name, *each) for each in zip(vectors, problem.starts, strict=True)]
        found[name] = _found(problem, ways)
    seconds = problem.front.curve[:, 1]
    bounds = np.resize(np.linspace(seconds.min(), seconds.max(), weights), runs)
    for name, penalty in PENALTIES.items():
        ways = [bounded(problem, bound, penalty, start) for bound, start in zip(bounds, problem.starts, strict=True)]
        of_bounds = _found(problem, ways)
        missed = np.abs(of_bounds.points[:, 1] - bounds) / problem.front.unit[1]
        found[name] = replace(of_bounds, at_bound=int((missed < ON).sum()))
    return found


def _found(problem: Problem, ways: list[Floats]) -> Found:
    ends = np.array([problem.losses(way[-1])[0] for way in ways])
    before = np.array([problem.losses(way[-1 - len(way) // 10])[0] for way in ways])
    moving = int((np.abs(ends - before) / problem.front.unit > REST).any(axis=1).sum())
    on = problem.front.distances(ends) < ON
    return Found(ends, on, problem.front.coverage(ends[on]), _volume(problem, ends, problem.nadir), moving)


def _volume(problem: Problem, losses: Floats, worst: Floats) -> float:
    return hypervolume(-losses, -worst) / hypervolume(-problem.front.curve, -worst)


def on_policies(structure: Structure, steps: int, weights: int) -> dict[str, list[Floats]]:
    """The policies [n] of each method, each trained from the reference."""
    problem = structure.problem(steps)
    grid = even_grid(2, weights)

    def trained(name: str, points: Iterable[Vector]) -> list[Floats]:
        ends = [descend(problem, name, point, problem.starts[0])[-1] for point in points]
        return [structure.policy(logits) for logits in ends]

    found = {name: trained(name, grid) for name in BY_WEIGHTS}
    found |= {name: trained(name, [EVEN]) for name in BY_THEMSELVES}
    found["MOPO"] = [structure.mopo(bound)[0] for bound in structure.bounds(weights)]
    found["Rewarded Soup"] = [structure.soup(point) for point in grid]
    found["mixed probabilities"] = [structure.mixture(point) for point in grid]
    return found


def judged(structure: Structure, policies: list[Floats]) -> Found:
    """`on` is the front of both win rates and KL; coverage and hypervolume are those of win rates less τ KL, against 0."""
    problem = structure.problem(0)
    losses = np.array([structure.losses(policy) for policy in policies])
    on = np.array([structure.excess(policy) < FREE for policy in policies])
    coverage = problem.front.coverage(losses[problem.front.distances(losses) < ON])
    points = np.array([structure.wins @ policy for policy in policies])
    return Found(points, on, coverage, _volume(problem, losses, np.ones(2)))
