"""What a method is. Each method is one small file beside this one that says what it minimises, and how it weighs objectives."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mora_jobs.align.tokens import Example

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """What a method sees of the model: R responses to each of B prompts (pairs: R = 2, the chosen one first)."""

    policy: Tensor
    """[B, R] Σ_t log π(y_t | x, y_<t) of each response under the policy, in nats."""
    reference: Tensor
    """[B, R] the same under the reference model."""
    tokens: Tensor
    """[B, R] tokens of each response."""
    signs: Tensor
    """[B, K] −1, 0 or +1: whether objective k prefers the first response, has no opinion, or prefers the second (−1)."""
    index: Tensor | None = None
    """[B] rows of the training data, for methods that know something of each."""

    @property
    def ratio(self) -> Tensor:
        """[B, R] log π(y|x)/π_ref(y|x)."""
        return self.policy - self.reference


class Needs(Enum):
    """What a method must know of a step before it weighs the objectives."""

    WEIGHTS = "the objectives' weights"
    LOSSES = "the losses of the step"
    GRAM = "the inner products of the objectives' gradients"


class Method(ABC):
    """A loss for each objective from one forward pass, and how the objectives' losses become one step.

    The step of the optimiser goes down d = Σ_k c_k ∇L_k, with L_k the mean of ℓ_ik over those pairs of the step (of all
    workers and micro-batches) that objective k has an opinion about. An objective that no pair of the step is about
    takes no part in that step.
    """

    needs: ClassVar[Needs] = Needs.WEIGHTS

    def __init__(self, objectives: tuple[str, ...], weights: tuple[float, ...]) -> None:
        """`weights` are positive and sum to 1."""
        self.objectives = objectives
        self.weights = np.asarray(weights, dtype=np.float64)

    @abstractmethod
    def losses(self, answers: Answers) -> Tensor:
        """[B, K] ℓ_ik, 0 where objective k has no opinion about pair i."""

    def coefficients(self, losses: Floats, gram: Floats | None, present: Bools) -> Floats:
        """[K] coefficients c; called once for each step.

        `losses` [K] are the L_k, `gram` [K, K] the ⟨∇L_k, ∇L_j⟩ (None unless the method needs it), `present` [K] which
        objectives take part; the coefficients of the others are 0.
        """
        return np.where(present, self.weights, 0.0)

    uses_reference: ClassVar[bool] = True
    """Whether reference log-probabilities are needed."""
    lag_steps: int | None = None
    """Steps between two calls of `refresh`; None for never."""

    def prepare(self, examples: list[Example]) -> list[Example]:
        """What of the training data the method trains on, in its order. UserError when it cannot work with it."""
        return examples

    def refresh(self, lagged: Floats | None) -> None:  # noqa: B027
        """Called every `lag_steps` steps with the log-probabilities [N] of the data's responses under the policy of
        `lag_steps` steps before; None when that was the start."""

    def figures(self) -> Mapping[str, float]:
        """What is logged of the method at every step."""
        return {}

    def state(self) -> Mapping[str, Floats]:
        """What a resumed training needs besides the policy."""
        return {}

    def restore(self, state: Mapping[str, Floats]) -> None:  # noqa: B027  # most methods have nothing to restore
        """Go on from what `state` gave."""
