"""What methods that weigh the objectives' gradients have in common.

    d = Σ_k c_k g_k,   g_k = ∇L_k,   c from the Gram matrix G_kj = ⟨g_k, g_j⟩ and the losses L_k of the step

G is that of the averaged gradients of the whole step: of all workers and all micro-batches.
"""

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from mora_jobs.align.methods.base import Bools, Floats, Needs
from mora_jobs.align.methods.pairwise import Pairwise

NO_GRADIENT = 1e-12
"""Share of the largest gradient's norm below which an objective counts as converged: a min-norm point would be there, and
stop all others."""


class Balancing(Pairwise):
    """K pairwise losses whose gradients are balanced by `balance`."""

    needs: ClassVar[Needs] = Needs.GRAM

    @abstractmethod
    def balance(self, losses: Floats, gram: Floats, weights: Floats) -> Floats:
        """[J] coefficients of the J ≥ 1 objectives that have a gradient; `weights` [J] sum to 1."""

    def coefficients(self, losses: Floats, gram: Floats | None, present: Bools) -> Floats:
        assert gram is not None
        squares = np.where(present, np.diag(gram), 0.0)
        moving = present & (squares > squares.max() * NO_GRADIENT**2)
        found = np.zeros(len(losses))
        if moving.any():
            weights = self.weights[moving] / self.weights[moving].sum()
            found[moving] = self.balance(losses[moving], gram[np.ix_(moving, moving)], weights)
        return found
