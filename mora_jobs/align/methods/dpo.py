"""Direct Preference Optimization (arXiv 2305.18290) with K objectives on signed pairs.

    L_k = mean over pairs with s_ik ≠ 0 of −log σ(β s_ik h_i),      L = Σ_k w_k L_k

h_i = log π(y⁺|x)/π_ref(y⁺|x) − log π(y⁻|x)/π_ref(y⁻|x) in nats. The other losses of TRL take the place of −log σ by name.
With s = +1 everywhere this is plain DPO for any weights that sum to 1. At the reference model every L_k is ln 2, whatever
the signs.
"""

from mora_jobs.align.methods.pairwise import Pairwise


class DPO(Pairwise):
    """d = Σ_k w_k ∇L_k."""
