"""Two losses of a parameter vector whose front is known. [D] marks our own choices.

convex         L_k = ‖x − c_k‖² with c = (0, 0) and (2, 0). Front (4t², 4(1 − t)²); hypervolume against (4, 4) is 40/3.
concave        Fonseca and Fleming (1995) in two dimensions, L = 1 − exp(−Σ_i (x_i ∓ 1/√2)²). Front: all x_i equal, from −1/√2
               to 1/√2. It is concave but for a short convex stretch at each end.
disconnected   after ZDT3 (Zitzler, Deb and Thiele 2000): L_1 = u, L_2 = h(u) + y² with u = sin² θ and waves in h. The front is
               h where it is lower than everywhere to its left: four pieces. ZDT3's own waves are steeper, and its root has no
               gradient at 0 [D].
pair losses    expected DPO losses (β = 0.5) of logits of six answers, all pairs compared, Bradley–Terry preferences of two
               rewards that disagree. They are convex in the logits, so weighted sums give the whole front.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize  # type: ignore[import-untyped]
from scipy.special import expit, log_expit  # type: ignore[import-untyped]

from mora_jobs.pareto.dominance import non_dominated

from .front import Floats, Front

Losses = Callable[[Floats], tuple[Floats, Floats]]
"""From parameters [n] to the losses [2] and their gradients [2, n]."""
FINE = 20_001
WAVES, HEIGHT = 6 * np.pi, 0.15
BETA = 0.5


@dataclass(frozen=True, eq=False)
class Problem:
    name: str
    losses: Losses
    front: Front
    """Of the losses."""
    starts: Floats
    """[runs, n]"""
    steps: int
    rate: float
    unit_rate: float
    """The rate of a method that divides gradients by their length."""

    @property
    def nadir(self) -> Floats:
        """[2] the worst losses on the front, the hypervolume's reference point."""
        return np.asarray(self.front.curve.max(axis=0))


def problems(runs: int, steps: int) -> list[Problem]:
    return [each(runs, steps) for each in (convex, concave, disconnected, pair_losses)]


def convex(runs: int, steps: int) -> Problem:
    centres = np.array([[0.0, 0.0], [2.0, 0.0]])

    def losses(x: Floats) -> tuple[Floats, Floats]:
        away = x - centres
        return (away**2).sum(axis=1), 2 * away

    t = np.linspace(0, 1, FINE)
    curve = np.stack([4 * t**2, 4 * (1 - t) ** 2], axis=1)
    return Problem("convex", losses, _front(curve), _box(runs, (-1, -2), (3, 2)), steps, 0.05, 0.05)


def concave(runs: int, steps: int) -> Problem:
    centres = np.array([[1.0, 1.0], [-1.0, -1.0]]) / np.sqrt(2)

    def losses(x: Floats) -> tuple[Floats, Floats]:
        away = x - centres
        nearness = np.exp(-(away**2).sum(axis=1))
        return 1 - nearness, 2 * away * nearness[:, None]

    t = np.linspace(0, 2, FINE)
    curve = 1 - np.exp(-(np.stack([t, 2 - t], axis=1) ** 2))
    return Problem("concave", losses, _front(curve), _box(runs, (-1, -1), (1, 1)), steps, 0.1, 0.05)


def disconnected(runs: int, steps: int) -> Problem:
    def waves(u: Floats) -> Floats:
        return np.asarray(1 - u - HEIGHT * np.sin(WAVES * u))

    def losses(x: Floats) -> tuple[Floats, Floats]:
        theta, y = x
        u, slope = np.sin(theta) ** 2, np.sin(2 * theta)
        falling = -1 - HEIGHT * WAVES * np.cos(WAVES * u)
        return np.array([u, waves(u) + y**2]), np.array([[slope, 0.0], [falling * slope, 2 * y]])

    u = np.linspace(0, 1, FINE)
    curve = np.stack([u, waves(u)], axis=1)
    starts = _box(runs, (0.05, -1), (np.pi / 2 - 0.05, 1))
    return Problem("disconnected", losses, _front(curve[non_dominated(-curve)]), starts, steps, 0.02, 0.02)


def pair_losses(runs: int, steps: int) -> Problem:
    base = np.array([2.0, 1.2, 0.4, -0.4, -1.2, -2.0])
    rewards = np.stack([2 * base, -base / 2 + np.array([0, 0.8, 0.8, 0.4, 0, -0.4])])
    first, second = np.triu_indices(6, 1)
    preferred = expit(rewards[:, first] - rewards[:, second])
    difference = np.eye(6)[first] - np.eye(6)[second]

    def losses(logits: Floats) -> tuple[Floats, Floats]:
        margin = BETA * difference @ logits
        of_pairs = -preferred * log_expit(margin) - (1 - preferred) * log_expit(-margin)
        return of_pairs.mean(axis=1), BETA * (expit(margin) - preferred) @ difference / len(first)

    def least(weight: float) -> Floats:
        def weighed(logits: Floats) -> tuple[float, Floats]:
            values, gradients = losses(logits)
            weights = np.array([weight, 1 - weight])
            return float(weights @ values), weights @ gradients

        return losses(minimize(weighed, np.zeros(6), jac=True, options={"gtol": 1e-9}).x)[0]

    corners = np.array([least(weight) for weight in np.linspace(1, 0, 401)])
    along = np.linspace(0, len(corners) - 1, FINE)
    curve = np.stack([np.interp(along, np.arange(len(corners)), column) for column in corners.T], axis=1)
    starts = np.random.default_rng(0).normal(size=(runs, 6))
    return Problem("pair losses", losses, _front(curve), starts, steps, 40.0, 1.0)


def _front(curve: Floats) -> Front:
    return Front(curve, np.ptp(curve, axis=0))


def _box(runs: int, low: tuple[float, float], high: tuple[float, float]) -> Floats:
    return np.random.default_rng(0).uniform(low, high, size=(runs, 2))
