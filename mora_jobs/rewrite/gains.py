"""What rewriting gained: figures before and after with 95 % bootstrap intervals over prompts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mora_jobs import api
from mora_jobs.api.rewrite import Change, Gain
from mora_jobs.estimators.bootstrap import Interval, known, paired_change
from mora_jobs.rewrite.bench import Figures

Pairs = Sequence[tuple[Figures, Figures]]  # (original, rewrite) of each prompt
Measured = dict[str, tuple[float, float, Interval]]


def measure_gain(pairs: Pairs, dimensions: Sequence[str]) -> Measured:
    """(before, after, difference with interval) of balance, hypervolume, joint and of the reach of each dimension."""

    def change(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, Interval]:
        return paired_change(np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64))

    single = {
        name: change([getattr(a, name) for a, _ in pairs], [getattr(b, name) for _, b in pairs])
        for name in ("balance", "hypervolume", "joint")
    }
    reach = {
        f"reach.{name}": change([a.reach[i] for a, _ in pairs], [b.reach[i] for _, b in pairs])
        for i, name in enumerate(dimensions)
    }
    return single | reach


def status(measured: Measured, prompts: int, dimensions: Sequence[str]) -> Gain:
    """The gain as status shows it."""
    changes = {name: _change(*figures) for name, figures in measured.items()}
    return Gain(
        prompts=prompts,
        balance=changes["balance"],
        hypervolume=changes["hypervolume"],
        joint=changes["joint"],
        reach={name: changes[f"reach.{name}"] for name in dimensions},
    )


def document(measured: Measured, prompts: int) -> dict[str, Any]:
    """The gain as gains.json holds it, unrounded; null for what cannot be had."""
    return {
        "prompts": prompts,
        "changes": {
            name: {"before": known(before), "after": known(after), "difference": gap.to_json()}
            for name, (before, after, gap) in measured.items()
        },
    }


def unselected(
    candidates: Mapping[str, Sequence[str]], figures: Mapping[str, Figures], dimensions: Sequence[str]
) -> tuple[Pairs, int]:
    """Original against the mean of all its candidates, under the screening seed: the effect of rewriting without choosing."""
    pairs = []
    for target, names in candidates.items():
        drawn = [figures[name] for name in names]
        pairs.append((figures[target], _mean(drawn, len(dimensions))))
    return pairs, len(pairs)


def _mean(figures: Sequence[Figures], dimensions: int) -> Figures:
    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values))

    return Figures(
        mean([f.balance for f in figures]),
        mean([f.hypervolume for f in figures]),
        mean([f.joint for f in figures]),
        tuple(mean([f.reach[i] for f in figures]) for i in range(dimensions)),
        round(mean([f.active for f in figures])),
    )


def _change(before: float, after: float, gap: Interval) -> Change:
    ci = [api.number(gap.low), api.number(gap.high)] if np.isfinite(gap.low) else []
    return Change(before=api.number(before), after=api.number(after), ci=ci)
