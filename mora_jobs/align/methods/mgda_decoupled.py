"""MGDA-Decoupled (arXiv 2604.20685): coefficients from loss-normalised gradients, applied to the raw ones.

    g̃_k = g_k / L_k,      α = argmin_{α ∈ Δ_K} ‖Σ_k α_k g̃_k‖²,      d = Σ_k α_k g_k

A large loss makes g̃_k short, so α favours objectives that are far from converged. At the reference model all losses are
equal, and the step is MGDA's. Where gradients are orthogonal the objectives fall in proportion to L_k².

d need not be a common descent direction: with two objectives of cosine c, L_1 rises where c < −L_1/L_2 (‖g_k‖ ∝ L_k).
With the guard (ours, off by default) such a step is replaced by the coupled one, Σ_k α_k g̃_k · mean(L), which is one.
"""

import numpy as np

from mora_jobs.align.methods.balancing import Balancing
from mora_jobs.align.methods.base import Floats
from mora_jobs.align.solvers.min_norm import min_norm

LEAST_LOSS = 1e-4
"""Losses are taken to be at least this large: one that is nearly 0 would take the whole weight for itself."""


class MGDADecoupled(Balancing):
    def balance(self, losses: Floats, gram: Floats, weights: Floats) -> Floats:
        scale = np.maximum(losses, LEAST_LOSS)
        alpha = min_norm(gram / np.outer(scale, scale))
        settings = self.spec.mgda_decoupled
        if settings is not None and settings.guard and (gram @ alpha).min() < 0:
            return np.asarray(alpha / scale * scale.mean())
        return alpha
