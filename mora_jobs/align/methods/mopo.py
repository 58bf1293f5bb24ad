"""MOPO (arXiv 2505.10892): the primary objective's win rate, subject to bounds on the win rates of the others.

    max_π R_p(π) − τ KL(π ‖ π_ref)   subject to   R_q(π) ≥ b
    ρ_λ(x, y) = exp((p̄ + λᵀq̄)/τ) / Z_λ(x)                    (Eq. 3, with the normaliser of each prompt)
    loss = −E_{x, y ~ π_ref} [ρ_λ(x, y) log π(y|x)]           (Eq. 7: importance-weighted behaviour cloning)

p̄ and q̄ are win rates against the behaviour policy, from the scores of a prompt's candidates. Its minimum is
π_λ = π_ref ρ_λ. Candidates are samples of π_ref, so π_ref weighs those of a prompt alike until its first refresh.

Every t₀ steps the reference becomes the policy of t₀ steps before (samples stay those of the original, re-weighted within
each prompt by π_lag/π_original), and without bounds of the user b ← β ⊙ G, G what the multipliers of that time reach. λ is
solved for on all pools instead of being followed on batches (solvers/mopo_dual.py says where else we read what the paper
leaves open). The loss is not ln 2 at the start: it is −E[ρ log π_ref].
"""

import dataclasses
import logging
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mora_jobs.align.candidates import Candidates
from mora_jobs.align.methods.base import Answers, Floats, Method
from mora_jobs.align.solvers.mopo_dual import Dual, effective_sample_sizes, ratchet, solve
from mora_jobs.align.tokens import Example
from mora_jobs.api.methods import Method as MethodSpec
from mora_jobs.api.methods import MOPOSettings

log = logging.getLogger(__name__)


class MOPO(Method):
    """One term, `cloning`: [B, 1] −(N/P) π_λ(y|x) log π(y|x), so that prompts count alike and the mean ρ is 1."""

    def __init__(self, spec: MethodSpec, objectives: tuple[str, ...], primary: str) -> None:
        super().__init__(("cloning",), (1.0,))
        self.settings = spec.mopo or MOPOSettings()
        self.lag_steps = self.settings.lag_steps
        self._names, self._primary = objectives, primary

    def prepare(self, examples: list[Example]) -> list[Example]:
        self.candidates = Candidates.of_examples(examples, self._names, self._primary, self.settings)
        self.candidates.check()
        self._bounds = self.candidates.bounds
        self._original = np.array([example.reference[0] for example in examples])
        self._pools = self.candidates.pools
        self._solve()
        return examples

    def losses(self, answers: Answers) -> Tensor:
        assert answers.index is not None
        return -self._weights[answers.index.cpu()].to(answers.policy) * answers.policy

    def refresh(self, lagged: Floats | None) -> None:
        if lagged is not None:
            gain = lagged - self._original
            top = np.maximum.reduceat(gain, self._pools.starts)[self._pools.prompt]
            weights = np.exp(gain - top)
            reference = weights / self._pools.sums(weights)[self._pools.prompt]
            self._pools = dataclasses.replace(self._pools, reference=reference)
        if not self.settings.bounds:
            self._bounds = ratchet(self.dual.robust, self.settings.relaxation)
        self._solve()

    def figures(self) -> Mapping[str, float]:
        rates = {self._primary: self.dual.primary} | dict(
            zip(self.candidates.bounded, self.dual.secondary, strict=True)
        )
        return {
            "effective_samples": float(self._effective.mean()),
            "kl_target": self.dual.divergence,
            **{f"win_rate/{name}": float(rate) for name, rate in rates.items()},
            **{
                f"multiplier/{name}": float(x)
                for name, x in zip(self.candidates.bounded, self.dual.multipliers, strict=True)
            },
            **{f"bound/{name}": float(x) for name, x in zip(self.candidates.bounded, self._bounds, strict=True)},
        }

    def state(self) -> Mapping[str, Floats]:
        return {"bounds": self._bounds, "reference": self._pools.reference}

    def restore(self, state: Mapping[str, Floats]) -> None:
        self._bounds = state["bounds"]
        self._pools = dataclasses.replace(self._pools, reference=state["reference"])
        self._solve()

    def _solve(self) -> None:
        self.dual: Dual = solve(self._pools, self._bounds, self.settings.temperature, self.settings.robustness)
        for index in self.dual.unmet:
            log.warning(
                "the bound %.4f on %s stays missed: %.4f is reached with a multiplier of %.3g",
                self._bounds[index], self.candidates.bounded[index], self.dual.robust[index], self.dual.multipliers[index],
            )  # fmt: skip
        policy = self.dual.policy
        self._effective = effective_sample_sizes(self._pools, policy)
        self._weights = torch.from_numpy(policy * (len(policy) / len(self._pools.starts)))[:, None]
