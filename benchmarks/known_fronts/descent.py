"""Plain gradient descent along the project's methods, and along a bound on one of two losses."""

import numpy as np

from mora_jobs.align import methods
from mora_jobs.align.simplex import Vector
from mora_jobs.api.methods import Method as MethodSpec

from .front import Floats
from .problems import Problem

BY_WEIGHTS = ("DPO", "GroupDRO", "CAGrad", "RACO")
BY_THEMSELVES = ("MGDA", "MGDANormalised", "MGDADecoupled")
PENALTIES = {"bound, Lagrangian": 0.0, "bound, augmented": 10.0}
MULTIPLIER_RATE = 0.1
EVEN = (0.5, 0.5)


def descend(problem: Problem, name: str, weights: Vector, start: Floats) -> Floats:
    """[steps, n] parameters along a method's way. As in training, it sees the objectives that have a weight, no others."""
    trained = np.flatnonzero(weights)
    names = tuple(f"objective-{k}" for k in trained)
    method = methods.make(MethodSpec.model_validate({"name": name}), names, tuple(weights[k] for k in trained))
    present = np.ones(len(trained), np.bool_)
    rate = problem.unit_rate if name == "MGDANormalised" else problem.rate
    way = [start]
    for _ in range(problem.steps):
        losses, gradients = problem.losses(way[-1])
        rows = gradients[trained]
        way.append(way[-1] - rate * method.coefficients(losses[trained], rows @ rows.T, present) @ rows)
    return np.array(way[1:])


def bounded(problem: Problem, bound: float, penalty: float, start: Floats) -> Floats:
    """[steps, n] parameters of descent on L_1 subject to L_2 ≤ bound, with a step of dual ascent after each of descent.

    With a penalty ρ > 0 max(0, λ + ρ(L_2 − b)) takes the place of λ: the augmented Lagrangian (Hestenes 1969, Powell 1969).
    Losses are in the front's units. A step is divided by the sum of the weights, so that a large multiplier does not blow it up.
    """
    unit, multiplier, way = problem.front.unit, 0.0, [start]
    for _ in range(problem.steps):
        losses, gradients = problem.losses(way[-1])
        excess = (losses[1] - bound) / unit[1]
        weights = np.array([1.0, max(0.0, multiplier + penalty * excess)]) / unit * unit.min()
        way.append(way[-1] - problem.rate * weights @ gradients / weights.sum())
        multiplier = max(0.0, multiplier + MULTIPLIER_RATE * excess)
    return np.array(way[1:])
