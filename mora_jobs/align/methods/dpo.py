"""Direct Preference Optimization (arXiv 2305.18290) with K objectives on signed pairs.

    L_k = mean_i −log σ(β s_ik h_i),      L = Σ_k w_k L_k

With s = +1 everywhere this is plain DPO for any weights that sum to 1. A pair without a statement (s = 0) is the constant
ln 2: it has no gradient, and the first loss is ln 2 for every objective, whatever the signs.
"""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from mora_jobs.api import PairRule


class DPO:
    accepts: ClassVar[frozenset[PairRule]] = frozenset(PairRule) - {PairRule.POOL}

    def __init__(self, beta: float) -> None:
        self.beta = beta

    def losses(self, margins: Tensor, signs: Tensor) -> Tensor:
        return -logsigmoid(self.beta * signs * margins[:, None])

    def coefficients(self, losses: Tensor, weights: Tensor, gram: Callable[[], Tensor]) -> Tensor:
        return weights
