"""Policies as tables of logits over n answers to one prompt, where every expectation is exact. [D] marks our own choices.

The losses are L_k = 1 − (R_k − τ KL(π ‖ π_ref)), with R_k the win rate against the behaviour policy μ = π_ref. R_k − τ KL is concave
in π, so weights w reach the whole front, and its policies are π_ref exp(wᵀp̄/τ)/Z. MOPO prices KL for the primary alone,
max R_p − τ KL subject to R_q ≥ b: its policies have weights (1, λ)/(1 + λ) and the temperature τ/(1 + λ).

aligned          both objectives order the answers alike (Bradley–Terry); the second is half as sure
conflicting      the better an answer by one objective, the worse by the other (the toy of MOPO's tests)
independent      Bradley–Terry preferences by normal rewards that know nothing of each other
non-transitive   primary: each of seven answers on a ring beats the next three with 0.85; secondary: each preference is drawn by
                 itself. No reward explains either. μ is uneven: under an even one no answer of a ring is better than another.

The structures are [D]: those of MOPO (arXiv 2505.10892) were not available to us.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit, rel_entr, softmax  # type: ignore[import-untyped]

from mora_jobs.align.simplex import Vector
from mora_jobs.align.solvers.mopo_dual import Dual, Pools, solve, tilted

from .front import Floats, Front
from .problems import Problem

TEMPERATURE = 0.08
SPARE = 0.005
"""Win rate by which the highest bound is below the best answer: there the multiplier would be infinite."""
FREE = 1e-3
"""Nats of KL that a policy on the front of wins and KL may have too much."""


@dataclass(frozen=True, eq=False)
class Structure:
    name: str
    pools: Pools
    """The answers to the prompt; the second objective is the constrained one."""

    @cached_property
    def wins(self) -> Floats:
        """[2, n] of each answer."""
        return np.stack([self.pools.primary, self.pools.secondary[:, 0]])

    @cached_property
    def experts(self) -> Floats:
        """[2, n] the best policy for each objective alone."""
        return np.array([self.gibbs((1.0, 0.0)), self.gibbs((0.0, 1.0))])

    def gibbs(self, weights: Vector) -> Floats:
        """[n] π_ref exp(wᵀp̄/τ)/Z."""
        return self.policy(self.pools.log_reference + np.array(weights) @ self.wins / TEMPERATURE)

    def soup(self, weights: Vector) -> Floats:
        """[n] the experts' logits, averaged: Rewarded Soups where a policy is linear in its logits."""
        return self.policy(np.array(weights) @ np.log(self.experts))

    def mixture(self, weights: Vector) -> Floats:
        """[n] the experts' probabilities, averaged: each answer comes from one expert, drawn with the weights."""
        return np.asarray(np.array(weights) @ self.experts)

    def mopo(self, bound: float) -> tuple[Floats, Dual]:
        """[n] the policy for R_q ≥ bound, and what it comes from."""
        found = solve(self.pools, [bound], TEMPERATURE)
        return tilted(self.pools, found.multipliers, TEMPERATURE), found

    def bounds(self, count: int) -> Floats:
        """From what the primary alone leaves to the secondary, to nearly the most that any policy reaches."""
        least = float(self.wins[1] @ self.experts[0])
        return np.linspace(least, self.wins[1].max() - SPARE, count)

    def kl(self, policy: Floats) -> float:
        """KL(policy ‖ π_ref), nats."""
        return float(rel_entr(policy, self.pools.reference).sum())

    def losses(self, policy: Floats) -> Floats:
        """[2]"""
        return np.asarray(1 - self.wins @ policy + TEMPERATURE * self.kl(policy))

    def excess(self, policy: Floats) -> float:
        """KL beyond the least with which a policy wins as often on both objectives, nats; 0 on the front of wins and KL."""
        both = Pools(self.pools.prompt, np.zeros(len(policy)), self.wins.T, self.pools.reference)
        return self.kl(policy) - solve(both, self.wins @ policy, 1.0).divergence

    def problem(self, steps: int) -> Problem:
        """The logits are the parameters, and every run starts at the reference."""
        front = np.array([self.losses(self.gibbs((1 - w, w))) for w in np.linspace(0, 1, 2001)])
        return Problem(
            self.name, self._gradients, Front(front, np.ones(2)), self.pools.log_reference[None], steps, 2.0, 0.1
        )

    def policy(self, logits: Floats) -> Floats:
        """[n]"""
        return np.asarray(softmax(logits))

    def _gradients(self, logits: Floats) -> tuple[Floats, Floats]:
        policy = self.policy(logits)
        gains = self.wins - TEMPERATURE * (np.log(policy) - self.pools.log_reference)
        means = gains @ policy
        return 1 - means, -policy * (gains - means[:, None])


def structures() -> list[Structure]:
    rng = np.random.default_rng(1)
    ladder = np.array([2.0, 1.2, 0.4, -0.4, -1.2, -2.0])
    ahead = (np.arange(7)[None] - np.arange(7)[:, None]) % 7
    ring = np.where(ahead == 0, 0.5, np.where(ahead <= 3, 0.85, 0.15))
    upper = np.triu(rng.uniform(size=(7, 7)), 1)
    drawn = upper + np.tril(1 - upper.T, -1) + np.eye(7) / 2
    return [
        _structure("aligned", _bradley_terry(ladder), _bradley_terry(ladder / 2), np.ones(6)),
        _structure(
            "conflicting",
            _bradley_terry(np.array([2, 1.5, 0.5, -0.5, -1])),
            _bradley_terry(np.array([-1.5, 0, 0.8, 1.2, 1.5])),
            np.ones(5),
        ),
        _structure("independent", _bradley_terry(rng.normal(size=8)), _bradley_terry(rng.normal(size=8)), np.ones(8)),
        _structure("non-transitive", ring, drawn, np.array([1.0, 2, 3, 4, 3, 2, 1])),
    ]


def _bradley_terry(rewards: Floats) -> Floats:
    return np.asarray(expit(rewards[:, None] - rewards))


def _structure(name: str, primary: Floats, secondary: Floats, behaviour: Floats) -> Structure:
    """From preferences [n, n] that the row's answer beats the column's."""
    behaviour = behaviour / behaviour.sum()
    pools = Pools(np.zeros(len(behaviour), np.intp), primary @ behaviour, (secondary @ behaviour)[:, None], behaviour)
    return Structure(name, pools)
