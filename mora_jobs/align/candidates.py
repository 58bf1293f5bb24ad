"""Pools of candidates as methods on rule Pool take them: win rates of each candidate, bounds, and whether these can be met."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from mora_jobs.align.solvers.mopo_dual import Pools, infeasible, ratchet
from mora_jobs.align.solvers.win_rates import bradley_terry, by_comparison, win_rates
from mora_jobs.align.tokens import Example
from mora_jobs.api.methods import MOPOSettings, Preference
from mora_jobs.errors import UserError

PARITY = 0.5
"""Win rate of the behaviour policy against itself."""
SCALE = 10.0


@dataclass(frozen=True, eq=False)
class Candidates:
    """Win rates against the behaviour policy, one row per candidate, and the bounds that they are held to."""

    pools: Pools
    bounded: tuple[str, ...]
    """[J] names of the objectives with a bound."""
    bounds: NDArray[np.float64]
    """[J] least win rates; of a ratchet, its first."""

    @classmethod
    def of_examples(
        cls, examples: Sequence[Example], objectives: tuple[str, ...], primary: str, settings: MOPOSettings
    ) -> "Candidates":
        """From examples of one response each, those of a prompt together, with a score for each objective."""
        scores = ([example.scores[0] for example in own] for _, own in groupby(examples, key=lambda each: each.group))
        return cls.of_scores((np.asarray(own) for own in scores), objectives, primary, settings)

    @classmethod
    def of_scores(
        cls,
        scores: Iterable[NDArray[np.float64]],
        objectives: tuple[str, ...],
        primary: str,
        settings: MOPOSettings,
    ) -> "Candidates":
        """From the scores [m ≥ 2, K] of each prompt's candidates."""
        by_scale = settings.preference is Preference.BRADLEY_TERRY
        preference = bradley_terry(settings.scale or SCALE) if by_scale else by_comparison
        rates = [win_rates(own, preference) for own in scores]
        sizes = np.array([len(own) for own in rates])
        given = {bound.name: bound.win_rate for bound in settings.bounds}
        bounded = tuple(name for name in objectives if name != primary and (not given or name in given))
        columns = [objectives.index(name) for name in bounded]
        table = np.concatenate(rates)
        pools = Pools(
            np.repeat(np.arange(len(sizes)), sizes),
            table[:, objectives.index(primary)],
            table[:, columns],
            np.repeat(1 / sizes, sizes),
        )
        start = ratchet(np.full(len(bounded), PARITY), settings.relaxation)
        return cls(pools, bounded, np.array([given[name] for name in bounded]) if given else start)

    def check(self) -> None:
        """UserError when no policy over these candidates meets the bounds."""
        for fault in infeasible(self.pools, self.bounds):
            if fault.index is None:
                raise UserError(
                    "spec.method.mopo.bounds",
                    f"every policy over these candidates misses one of them by {fault.shortfall:.4f} or more",
                    "lower them",
                )
            raise UserError(
                f"spec.method.mopo.bounds[{self.bounded[fault.index]}]",
                f"the best candidates of each prompt win {fault.reachable:.4f}, less than {self.bounds[fault.index]:g}",
                "lower the bound, or sample more rollouts",
            )
