"""Conflict-Averse Gradient descent (arXiv 2110.14048) around the weighted gradient, and RACO's clipped form (arXiv 2602.02495).

    g_0 = Σ_k w_k g_k,   p = argmin_{p ∈ Δ_K} ⟨g_p, g_0⟩ + c ‖g_0‖ ‖g_p‖,   g_p = Σ_k p_k g_k
    CAGrad:  d = g_0 + c ‖g_0‖ g_p / ‖g_p‖            RACO:  the same with p̃ = min(p, w) in place of p in d

With c = 0 both are the weighted sum. The clip keeps an objective from getting more correction than its weight.
"""

from mora_jobs.align.methods.balancing import Balancing
from mora_jobs.align.methods.base import Floats
from mora_jobs.align.solvers.cagrad import cagrad
from mora_jobs.api.methods import CAGradSettings


class CAGrad(Balancing):
    clip = False

    def balance(self, losses: Floats, gram: Floats, weights: Floats) -> Floats:
        return cagrad(gram, weights, (self.spec.cagrad or CAGradSettings()).radius, self.clip)


class RACO(CAGrad):
    clip = True
