"""MGDA on gradients of unit length, in the coefficients and in the step (a baseline of MGDA-Decoupled, arXiv 2604.20685).

    g̃_k = g_k/‖g_k‖,      α = argmin_{α ∈ Δ_K} ‖Σ_k α_k g̃_k‖²,      d = Σ_k α_k g̃_k

Our reading: the source's text was not available to us, its digests say "normalised vectors in both places". Unit length is
also GAPO's normalisation with p = 1 (arXiv 2507.01915). Objectives fall in proportion to ‖g_k‖.
"""

import numpy as np

from mora_jobs.align.methods.balancing import Balancing
from mora_jobs.align.methods.base import Floats
from mora_jobs.align.solvers.min_norm import min_norm


class MGDANormalised(Balancing):
    def balance(self, losses: Floats, gram: Floats, weights: Floats) -> Floats:
        norms = np.sqrt(np.diag(gram))
        return min_norm(gram / np.outer(norms, norms)) / norms
