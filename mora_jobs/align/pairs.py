"""Preference pairs from pools, by the rule of spec.pairs, with an account of where they came from and why none came."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mora_jobs import api
from mora_jobs.align import rules
from mora_jobs.align.pools import Pool
from mora_jobs.api import PairRule
from mora_jobs.rewards.aggregation import overall

PAIRS = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_id", pa.string()),
        ("kind", pa.string()),
        ("stage", pa.string()),
        ("messages", pa.string()),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("chosen_ended", pa.bool_()),
        ("rejected_ended", pa.bool_()),
        ("signs", pa.list_(pa.int8())),
        ("strength", pa.float64()),
        ("gaps", pa.list_(pa.float64())),
    ]
)
POOLS = pa.schema(
    [
        ("id", pa.string()),
        ("kind", pa.string()),
        ("messages", pa.string()),
        ("responses", pa.list_(pa.string())),
        ("ended", pa.list_(pa.bool_())),
        ("scores", pa.list_(pa.list_(pa.float64()))),
    ]
)


@dataclass
class Yield:
    """How many prompts of each class gave pairs, and why the others gave none. With rule Pool a pair is a candidate."""

    prompts: Counter[str] = field(default_factory=Counter)
    with_pairs: Counter[str] = field(default_factory=Counter)
    pairs: Counter[str] = field(default_factory=Counter)
    without: Counter[str] = field(default_factory=Counter)
    signed: Counter[str] = field(default_factory=Counter)
    """Pairs that say something about an objective."""
    sides: Counter[str] = field(default_factory=Counter)
    """Pairs by who wrote their two sides (sides.py)."""

    def to_json(self) -> dict[str, Any]:
        classes = sorted(self.prompts)
        return {
            "classes": {
                kind: {"prompts": self.prompts[kind], "withPairs": self.with_pairs[kind], "pairs": self.pairs[kind]}
                for kind in classes
            },
            "withoutPairs": dict(sorted(self.without.items())),
            "signed": dict(sorted(self.signed.items())),
            "sides": dict(sorted(self.sides.items())),
            "pairs": self.pairs.total(),
        }


@dataclass(frozen=True)
class Selection:
    """What pairs are selected by: the spec, and the columns of u that are objectives."""

    pairs: api.Pairs
    objectives: tuple[str, ...]
    columns: tuple[int, ...]
    stages: tuple[str, ...] = ()
    """Objectives that have a stage of their own pairs (rule StageGuard)."""


def pairs_of(pool: Pool, selection: Selection, account: Yield) -> Iterator[dict[str, Any]]:
    """Rows of PAIRS of one prompt. Rollouts without a score on one of the objectives are left out."""
    account.prompts[pool.kind] += 1
    found = 0
    for stage in selection.stages or ("",):
        for choice in _choices(pool, selection, stage, account):
            found += 1
            for name, sign in zip(selection.objectives, choice.signs, strict=True):
                account.signed[name] += sign != 0
            yield _row(pool, choice, stage, selection.columns)
    account.pairs[pool.kind] += found
    account.with_pairs[pool.kind] += found > 0


def pool_row(pool: Pool, selection: Selection, account: Yield) -> Iterator[dict[str, Any]]:
    """The row of POOLS of one prompt: its rollouts that have every score, with their u on the objectives.

    None with fewer than two of them, or when no objective tells them apart: then there is nothing to prefer.
    """
    account.prompts[pool.kind] += 1
    columns = list(selection.columns)
    keep = np.flatnonzero(~np.isnan(pool.u[:, columns]).any(axis=1)).tolist()
    own = pool.u[np.ix_(keep, columns)]
    reason = "TooFewScores" if len(keep) < 2 else "" if np.ptp(own, axis=0).any() else "ConstantScores"
    if reason:
        account.without[reason] += 1
        return
    account.with_pairs[pool.kind] += 1
    account.pairs[pool.kind] += len(keep)
    for name, spread in zip(selection.objectives, np.ptp(own, axis=0), strict=True):
        account.signed[name] += len(keep) * int(spread > 0)
    yield {
        "id": pool.id,
        "kind": pool.kind,
        "messages": json.dumps(pool.messages, ensure_ascii=False),
        "responses": [pool.responses[i] for i in keep],
        "ended": [pool.ended[i] for i in keep],
        "scores": own.tolist(),
    }


def _choices(pool: Pool, selection: Selection, stage: str, account: Yield) -> list[rules.Choice]:
    settings = selection.pairs
    needed = list(selection.columns)
    if settings.rule is PairRule.AGGREGATE:
        needed += [i for i in np.flatnonzero(pool.weights) if i not in needed]
    usable = np.flatnonzero(~np.isnan(pool.u[:, needed]).any(axis=1))
    if len(usable) < 2:
        account.without["TooFewScores"] += 1
        return []
    u = pool.u[usable]
    texts = np.array([pool.responses[i] for i in usable], dtype=object)
    distinct = texts[:, None] != texts[None, :]
    candidates = _candidates(u, pool.weights, selection, stage)
    chosen = rules.take(candidates, settings.max_pairs_per_prompt, distinct)
    if not chosen:
        account.without[_reason(u[:, list(selection.columns)], candidates, distinct)] += 1
    return [
        rules.Choice(int(usable[each.winner]), int(usable[each.loser]), each.signs, each.strength) for each in chosen
    ]


def _candidates(
    u: NDArray[np.float64], weights: NDArray[np.float64], selection: Selection, stage: str
) -> rules.Candidates:
    settings = selection.pairs
    own = u[:, list(selection.columns)]
    match settings.rule:
        case PairRule.DOMINANCE:
            return rules.dominance(own, settings.min_gap)
        case PairRule.STAGE_GUARD:
            index = selection.objectives.index(stage)
            return rules.stage_guard(own, index, settings.min_gap, settings.guard_tolerance)
        case PairRule.PER_OBJECTIVE:
            return rules.per_objective(own, settings.min_gap)
        case PairRule.AGGREGATE:
            return rules.aggregate(overall(u, weights), len(selection.columns), settings.min_gap)
    raise ValueError(f"rule {settings.rule} makes no pairs from rollouts")


def _reason(u: NDArray[np.float64], candidates: rules.Candidates, distinct: NDArray[np.bool_]) -> str:
    """Why a prompt gave no pair."""
    if not distinct.any():
        return "SameText"
    if not np.ptp(u, axis=0).any():
        return "ConstantScores"
    return "Conflict" if (candidates.gap_ok & distinct).any() else "SmallGap"


def _row(pool: Pool, choice: rules.Choice, stage: str, columns: tuple[int, ...]) -> dict[str, Any]:
    gaps = pool.u[choice.winner] - pool.u[choice.loser]
    prefix = f"{stage}/" if stage else ""
    return {
        "id": f"{prefix}{pool.id}#{choice.winner}-{choice.loser}",
        "prompt_id": pool.id,
        "kind": pool.kind,
        "stage": stage,
        "messages": json.dumps(pool.messages, ensure_ascii=False),
        "chosen": pool.responses[choice.winner],
        "rejected": pool.responses[choice.loser],
        "chosen_ended": pool.ended[choice.winner],
        "rejected_ended": pool.ended[choice.loser],
        "signs": list(choice.signs),
        "strength": choice.strength,
        "gaps": gaps[list(columns)].tolist(),
    }
