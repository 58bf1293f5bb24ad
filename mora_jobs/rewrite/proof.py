"""When a rewrite counts as better, and which of several is taken.

A candidate is compared with its original under one fresh seed, and only those that win are compared again under a
second one: best-of-K on a single draw mostly selects luck (winner's curse), which a replication removes. What is
reported afterwards is measured under a third seed (gains.py).
"""

import math
from collections.abc import Mapping, Sequence

from mora_jobs.api.rewrite import Validation
from mora_jobs.rewrite.bench import Figures
from mora_jobs.rewrite.candidates import Candidate
from mora_jobs.rewrite.instructions import Target

# Sums of scores differ in the last digit with their order; a gain this close to its bound reaches it.
SLACK = 1e-9


def shortfall(before: Figures, after: Figures, kept: int | None, spec: Validation) -> str | None:
    """Why the rewrite's figures do not prove it better than its original, or None.

    All must hold: balance rises by minBalanceGain; hypervolume by minHypervolumeGain, unless another dimension became
    active; reach of the dimension that was already earned (index `kept`) falls by at most maxReachLoss.
    """
    if not after.balance - before.balance >= spec.min_balance_gain - SLACK:  # also when one is NaN
        return "BalanceGain"
    widened = (
        after.active > before.active or after.hypervolume - before.hypervolume >= spec.min_hypervolume_gain - SLACK
    )
    if not widened:
        return "HypervolumeGain"
    if kept is not None and not before.reach[kept] - after.reach[kept] <= spec.max_reach_loss + SLACK:
        return "ReachLoss"
    return None


def compare(
    candidates: Sequence[Candidate],
    targets: Mapping[str, Target],
    figures: Mapping[str, Figures],
    dimensions: Sequence[str],
    spec: Validation,
) -> dict[str, str | None]:
    """The shortfall of each candidate by its id, on the figures of one seed."""

    def verdict(candidate: Candidate) -> str | None:
        earned = targets[candidate.target].dimension
        kept = dimensions.index(earned) if earned is not None else None
        return shortfall(figures[candidate.target], figures[candidate.id], kept, spec)

    return {candidate.id: verdict(candidate) for candidate in candidates}


def choose(candidates: Sequence[Candidate], draws: Sequence[Mapping[str, Figures]]) -> dict[str, Candidate]:
    """The proven candidate with the largest mean gain of balance for each target; the first one among equals."""
    best: dict[str, tuple[float, Candidate]] = {}
    for candidate in candidates:
        gains = [draw[candidate.id].balance - draw[candidate.target].balance for draw in draws]
        gain = math.fsum(gains) / len(gains)
        if candidate.target not in best or gain > best[candidate.target][0]:
            best[candidate.target] = (gain, candidate)
    return {target: candidate for target, (_, candidate) in best.items()}
