"""What methods on pairs have in common: a loss of a signed pair for each objective."""

from torch import Tensor

from mora_jobs.align.methods.base import Answers, Method
from mora_jobs.align.methods.pair_losses import pair_losses
from mora_jobs.api.methods import Method as MethodSpec


class Pairwise(Method):
    """L_k = mean of ℓ(s_ik, pair i) over the pairs with s_ik ≠ 0, with ℓ by spec.method.loss."""

    def __init__(self, spec: MethodSpec, objectives: tuple[str, ...], weights: tuple[float, ...]) -> None:
        super().__init__(objectives, weights)
        self.spec = spec

    def losses(self, answers: Answers) -> Tensor:
        return pair_losses(answers, self.spec.beta, self.spec.loss)
