"""Policies over n answers as a table of logits, trained with the methods' own losses and coefficients on exact expectations."""

import numpy as np
import torch
from torch import Tensor

from mora_jobs.align import methods
from mora_jobs.align.methods import Answers, Method
from mora_jobs.api.methods import Method as MethodSpec


def method(name: str, objectives: int, weights: tuple[float, ...] | None = None, **spec) -> Method:
    names = tuple(f"objective-{k}" for k in range(objectives))
    even = (1 / objectives,) * objectives
    return methods.make(MethodSpec.model_validate({"name": name, **spec}), names, weights or even)


class Table:
    """K rewards over n answers; all pairs of answers are compared, with Bradley–Terry probabilities of each reward."""

    def __init__(self, rewards: list[list[float]], reference: list[float] | None = None) -> None:
        self.rewards = torch.tensor(rewards, dtype=torch.float64)
        count = self.rewards.shape[1]
        even = torch.full((count,), 1 / count, dtype=torch.float64)
        self.reference = even if reference is None else torch.tensor(reference, dtype=torch.float64)
        self.first, self.second = torch.combinations(torch.arange(count)).T
        self.preferred = torch.sigmoid(self.rewards[:, self.first] - self.rewards[:, self.second]).T  # [pairs, K]

    def losses(self, how: Method, logits: Tensor) -> Tensor:
        """[K] expected losses over pairs and labels."""
        policy, reference = logits.log_softmax(0), self.reference.log()
        sides = [torch.stack([each[self.first], each[self.second]], 1) for each in (policy, reference)]
        tokens = torch.ones_like(sides[0])
        for_first, for_second = (
            how.losses(Answers(*sides, tokens, sign * torch.ones_like(self.preferred))) for sign in (1, -1)
        )
        return (self.preferred * for_first + (1 - self.preferred) * for_second).mean(0)

    def gradients(self, how: Method, logits: Tensor) -> tuple[Tensor, Tensor]:
        """losses [K], gradients [K, n]."""
        logits = logits.detach().requires_grad_()
        losses = self.losses(how, logits)
        rows = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in losses]
        return losses.detach(), torch.stack(rows)

    def train(self, how: Method, steps: int, rate: float, start: Tensor | None = None) -> Tensor:
        """Plain gradient descent along the method's steps; returns the logits."""
        logits = self.reference.log().clone() if start is None else start.clone()
        for _ in range(steps):
            losses, rows = self.gradients(how, logits)
            present = np.ones(len(losses), np.bool_)
            found = how.coefficients(losses.numpy(), (rows @ rows.T).numpy(), present)
            logits = logits - rate * torch.from_numpy(found) @ rows
        return logits

    def gibbs(self, weights: list[float], beta: float) -> Tensor:
        """π_ref exp(wᵀr/β)/Z."""
        return (self.reference.log() + torch.tensor(weights, dtype=torch.float64) @ self.rewards / beta).softmax(0)
