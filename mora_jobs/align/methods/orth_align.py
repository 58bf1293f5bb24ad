"""OrthAlign (arXiv 2509.24610): objectives one after the other, each in directions that the earlier ones have not used.

    stage t:  L = L_t (DPO on its own pairs),      B ← (I − U Uᵀ) B after every optimiser step

U are the left singular vectors of Σ_{s<t} B_s A_s (projections.py). The source projects the gradient of B. Adam divides each
entry of it by a running size of its own, which turns the update out of the subspace again (31 % of its norm after 50
steps); so we project what the step has made. There is no weight decay.
"""

from mora_jobs.align.methods.pairwise import Pairwise


class OrthAlign(Pairwise):
    """DPO's loss; the projection is a callback of the training (callbacks.Projections)."""
