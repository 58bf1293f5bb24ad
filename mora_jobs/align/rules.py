"""How the rollouts of one prompt become preference pairs: pure rules on calibrated scores u[N, K] in [0, 1].

Every rule looks at all ordered pairs (winner, loser), says which are eligible and how strongly, and `take` then picks the
strongest pairs without a rollout in common. All of them treat the objectives alike: permuting the columns of u permutes
the signs of the pairs and changes nothing else, which is why sums run over sorted gaps (floats do not add associatively).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Signs = NDArray[np.int8]
ROUNDING = 1e-9  # 0.7 − 0.4 is a gap of 0.3, though not in binary


@dataclass(frozen=True)
class Candidates:
    """What a rule says about every ordered pair of N rollouts.

    `gap_ok` [N, N]: the gap alone is large enough; `eligible` [N, N]: and the rest of the rule holds too;
    `strength` [N, N]: by which pairs are ranked; `signs` [N, N, K]: +1 the winner is better, −1 worse, 0 no statement.
    """

    gap_ok: Bools
    eligible: Bools
    strength: Floats
    signs: Signs


@dataclass(frozen=True)
class Choice:
    """One pair: indices of the rollouts, a sign for each objective, and the strength that it was chosen by."""

    winner: int
    loser: int
    signs: tuple[int, ...]
    strength: float


def dominance(u: Floats, min_gap: float) -> Candidates:
    """The winner is at least as good on every objective, and better by `min_gap` in sum (RCS, arXiv 2504.11337).

    All signs are +1: every objective sees the same pairs.
    """
    gaps = _gaps(u)
    total = _sum(gaps)
    enough = (total >= min_gap - ROUNDING) & (total > 0)
    return Candidates(enough, enough & (gaps >= 0).all(axis=-1), total, np.ones(gaps.shape, np.int8))


def stage_guard(u: Floats, stage: int, min_gap: float, tolerance: float) -> Candidates:
    """The winner is better by `min_gap` on the stage's objective, and no other falls by more than `tolerance`.

    Only the stage's objective has a sign.
    """
    gaps = _gaps(u)
    own = gaps[..., stage]
    enough = (own >= min_gap - ROUNDING) & (own > 0)
    guarded = (np.delete(gaps, stage, axis=-1) >= -tolerance - ROUNDING).all(axis=-1)
    signs = np.zeros(gaps.shape, np.int8)
    signs[..., stage] = 1
    return Candidates(enough, enough & guarded, own, signs)


def per_objective(u: Floats, min_gap: float) -> Candidates:
    """Each objective has its own opinion: the sign of its gap where that is at least `min_gap`, else 0.

    The pair counts once, with the side as winner that the signed gaps favour in sum (the first rollout in a tie).
    """
    gaps = _gaps(u)
    spoken = (np.abs(gaps) >= min_gap - ROUNDING) & (gaps != 0)
    signs = np.where(spoken, np.sign(gaps), 0).astype(np.int8)
    balance = _sum(np.where(spoken, gaps, 0.0))
    rollouts = np.arange(len(u))
    favoured = (balance > 0) | ((balance == 0) & (rollouts[:, None] < rollouts[None, :]))
    enough = spoken.any(axis=-1)
    return Candidates(enough, enough & favoured, _sum(np.where(spoken, np.abs(gaps), 0.0)), signs)


def aggregate(overall: Floats, objectives: int, min_gap: float) -> Candidates:
    """Ordered by one overall score [N]; the gap is compared as if it were the mean gap of all objectives."""
    gap = (overall[:, None] - overall[None, :]) * objectives
    enough = (gap >= min_gap - ROUNDING) & (gap > 0)
    return Candidates(enough, enough, gap, np.ones((*gap.shape, objectives), np.int8))


def take(candidates: Candidates, limit: int, distinct: Bools) -> list[Choice]:
    """The strongest eligible pairs, at most `limit`, no rollout in two of them; ties go to the lower indices.

    `distinct` [N, N] is False where two rollouts are the same text, between which there is nothing to prefer.
    """
    winners, losers = np.nonzero(candidates.eligible & distinct)
    order = np.lexsort((losers, winners, -candidates.strength[winners, losers]))
    chosen: list[Choice] = []
    used: set[int] = set()
    for winner, loser in zip(winners[order].tolist(), losers[order].tolist(), strict=True):
        if len(chosen) == limit:
            break
        if winner not in used and loser not in used:
            used |= {winner, loser}
            signs = tuple(int(sign) for sign in candidates.signs[winner, loser])
            chosen.append(Choice(winner, loser, signs, float(candidates.strength[winner, loser])))
    return chosen


def _gaps(u: Floats) -> Floats:
    """gaps[i, j, k] = u[i, k] − u[j, k]: what objective k gains when i is preferred to j."""
    return np.asarray(u[:, None, :] - u[None, :, :], dtype=np.float64)


def _sum(gaps: Floats) -> Floats:
    """Sum over objectives, the same float for any order of them."""
    return np.asarray(np.sort(gaps, axis=-1).sum(axis=-1), dtype=np.float64)
