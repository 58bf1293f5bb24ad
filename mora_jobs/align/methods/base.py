"""What a method is. Each method is one small file beside this one that says which pairs it takes and what it minimises."""

from collections.abc import Callable
from typing import ClassVar, Protocol

from torch import Tensor

from mora_jobs.api import PairRule


class Method(Protocol):
    """A loss for each objective from one forward pass, and how the objectives' losses become one direction.

    B pairs, K objectives. A method sees the model only through the margins
    h_i = log π(w_i|x)/π_ref(w_i|x) − log π(l_i|x)/π_ref(l_i|x), in nats.
    """

    accepts: ClassVar[frozenset[PairRule]]
    """Pair rules that the method can learn from."""

    def losses(self, margins: Tensor, signs: Tensor) -> Tensor:
        """[B, K] loss of each pair for each objective, from margins [B] and signs [B, K] in {−1, 0, +1}."""
        ...

    def coefficients(self, losses: Tensor, weights: Tensor, gram: Callable[[], Tensor]) -> Tensor:
        """[K] coefficients α: the step goes down Σ_k α_k ∇L_k (they carry no gradient of their own).

        `losses` [K] are the means over the batch, `weights` [K] the preference vector. `gram()` computes, when asked,
        the [K, K] inner products of the objectives' gradients with respect to the margins of the whole global batch.
        """
        ...
