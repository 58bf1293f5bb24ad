"""The pairs of a job: surveyed first, so that mistakes show before anything is written, then committed as a table."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from mora_jobs import api
from mora_jobs.align.candidates import Candidates
from mora_jobs.align.heldout import HeldOut
from mora_jobs.align.pairs import PAIRS, POOLS, Selection, Yield, pairs_of, pool_row
from mora_jobs.align.pools import Pool, RolloutSource
from mora_jobs.align.preferences import given_pairs
from mora_jobs.align.separability import contrasts, separability
from mora_jobs.align.sides import sides_of_rollouts
from mora_jobs.api import MethodName, PairRule, Regime
from mora_jobs.api.methods import MOPOSettings
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError
from mora_jobs.generation.appender import Appender


class PairSource:
    """Where the pairs of a job come from: rollouts by the rule of spec.pairs, and given preferences."""

    def __init__(self, spec: api.AlignmentSpec, sources: list[RolloutSource], held_out: HeldOut) -> None:
        self.spec, self.held_out = spec, held_out
        self.objectives = tuple(objective.name for objective in spec.objectives)
        self.pooled = spec.pairs.rule is PairRule.POOL
        self.sources = [] if spec.pairs.rule is PairRule.DATASET else sources
        for source in self.sources:
            source.require(self.objectives)

    def survey(self) -> Yield:
        """Go through all pairs without keeping them. UserError when there is none, an objective is constant, or no policy over
        the pools meets the bounds of MOPO."""
        account = Yield()
        bounded = self.spec.method.name is MethodName.MOPO
        scores = [np.asarray(row["scores"]) for row in self.rows(account) if bounded]
        if not account.pairs.total():
            what = "candidate" if self.pooled else "pair"
            raise UserError(
                "spec.pairs", f"no {what} was found in {_said(account)}", _advice(self.spec.pairs, account)
            )
        if self.spec.regime is Regime.SIMULTANEOUS:
            for objective in self.spec.objectives:
                if objective.weight != 0 and not account.signed[objective.name] and not self.pooled:
                    raise UserError(
                        f"spec.objectives[{objective.name}]",
                        f"none of the {account.pairs.total()} pairs is about it",
                        "lower pairs.minGap, or leave the objective out",
                    )
        if bounded:
            settings, primary = self.spec.method.mopo or MOPOSettings(), self.spec.primary or self.objectives[0]
            Candidates.of_scores(scores, self.objectives, primary, settings).check()
        return account

    def commit(self, store: Store) -> Table:
        """All pairs, or all pools, as the table of that name; goes on where an earlier attempt stopped."""
        table = Table(store, "pools", POOLS) if self.pooled else Table(store, "pairs", PAIRS)
        done = table.committed()
        with Appender(table) as rows:
            for row in self.rows(Yield()):
                if row["id"] not in done:
                    rows.add(row)
        return table

    def rows(self, account: Yield) -> Iterator[dict[str, Any]]:
        """Rows of PAIRS, or of POOLS with rule Pool. With two rollout jobs ids begin with the job's name."""
        extremes: dict[str, list[float]] = {name: [] for name in self.objectives}
        for source in self.sources:
            selection, before = self._selection(source), account.pairs.total()
            for pool in self.pools(source, account):
                _note_extremes(pool, selection, extremes)
                if self.pooled:
                    yield from pool_row(pool, selection, account)
                else:
                    yield from pairs_of(pool, selection, account)
            account.sides[sides_of_rollouts(self.spec, source)] += account.pairs.total() - before
        for name, values in extremes.items():
            if values and min(values) == max(values):
                raise UserError(
                    f"spec.objectives[{name}]",
                    f"reward {name} is {values[0]:g} for every rollout",
                    "leave the objective out, or use a reward that tells responses apart",
                )
        if self.spec.data.preferences is not None:
            yield from given_pairs(self.spec.data.preferences, self.objectives, account, self.held_out.texts)

    def account(self, pairs: Table, surveyed: Yield | None) -> dict[str, Any]:
        """What pairs.json says: the account of the survey, and how far surface features tell preferred responses from others."""
        found: dict[str, dict[str, Any]] = {}
        if not self.pooled:
            seed, columns = self.spec.trainer.seed, ["id", "messages", "chosen", "rejected", "signs"]
            sampled = contrasts(pairs.rows(columns), len(self.objectives), seed)
            for name, own in zip(self.objectives, sampled, strict=True):
                measured = separability(own, seed)
                if measured is not None:
                    found[name] = dataclasses.asdict(measured)
        return (surveyed or self.survey()).to_json() | {"separability": found}

    def pools(self, source: RolloutSource, account: Yield) -> Iterator[Pool]:
        """The source's pools that may be trained on."""
        for pool in source.pools(self.spec.pairs.keep_original_share, self.spec.trainer.seed):
            if self.held_out.forbids(pool.source, pool.original, pool.messages[-1]["content"]):
                account.prompts[pool.kind] += 1
                account.without["HeldOut"] += 1
            elif len(self.sources) > 1:
                yield dataclasses.replace(pool, id=f"{source.name}/{pool.id}")
            else:
                yield pool

    def _selection(self, source: RolloutSource) -> Selection:
        staged = self.spec.pairs.rule is PairRule.STAGE_GUARD
        return Selection(
            pairs=self.spec.pairs,
            objectives=self.objectives,
            columns=tuple(source.rewards.index(name) for name in self.objectives),
            stages=self.objectives if staged else (),
        )


def _note_extremes(pool: Pool, selection: Selection, extremes: dict[str, list[float]]) -> None:
    for name, column in zip(selection.objectives, selection.columns, strict=True):
        known = pool.u[:, column][~np.isnan(pool.u[:, column])]
        if known.size:
            values = [*extremes[name], float(known.min()), float(known.max())]
            extremes[name] = [min(values), max(values)]


def _said(account: Yield) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in account.without.most_common())
    return f"{account.prompts.total()} prompts ({reasons or 'no prompt has scored rollouts'})"


def _advice(pairs: api.Pairs, account: Yield) -> str:
    most = account.without.most_common(1)
    match most[0][0] if most else "":
        case "SmallGap":
            return f"lower pairs.minGap ({pairs.min_gap:g})"
        case "Conflict":
            return "no response is better on all objectives: use rule PerObjective, or raise guardTolerance"
        case "HeldOut":
            return "the prompts to evaluate on must be others than those to train on"
        case "SameText":
            return "the rollouts of a prompt are equal: raise sampling.temperature"
    return "look at the scores of the rollout job"
