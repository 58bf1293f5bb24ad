"""Multiple-Gradient Descent (Désidéri 2012; for deep networks Sener & Koltun, arXiv 1810.04650) on K pairwise losses.

    α = argmin_{α ∈ Δ_K} ‖Σ_k α_k g_k‖²,      d = Σ_k α_k g_k

d is a common descent direction: ⟨d, g_k⟩ ≥ ‖d‖² for every k, with equality where α_k > 0. It is 0 exactly where the policy is
Pareto-stationary. The minimiser leans to objectives with small gradients.
"""

from mora_jobs.align.methods.balancing import Balancing
from mora_jobs.align.methods.base import Floats
from mora_jobs.align.solvers.min_norm import min_norm


class MGDA(Balancing):
    def balance(self, losses: Floats, gram: Floats, weights: Floats) -> Floats:
        return min_norm(gram)
