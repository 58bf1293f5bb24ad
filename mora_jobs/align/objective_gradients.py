"""The gradients of K objectives over the micro-batches and workers of one step, and the step that is made of them."""

from collections.abc import Iterable

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class ObjectiveGradients:
    """Sums ∇L_k over micro-batches: K backward passes through one forward pass, and K copies of the trained parameters.

    Where the model is sliced (FSDP) a copy is a slice: only the K² inner products travel, besides what FSDP itself sends.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], objectives: int) -> None:
        self._parameters = [each for each in parameters if each.requires_grad]
        self._sharded = any(isinstance(each, DTensor) for each in self._parameters)
        self._world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        size = sum(_local(each).numel() for each in self._parameters)
        self._sums = torch.zeros(objectives, size, device=_local(self._parameters[0]).device)

    def add(self, losses: Tensor) -> None:
        """Add the gradients of `losses` [K], this worker's share of the objectives' losses."""
        for index, loss in enumerate(losses):
            self._clear()
            loss.backward(retain_graph=index < len(losses) - 1)
            start = 0
            for parameter in self._parameters:
                end = start + _local(parameter).numel()
                if parameter.grad is not None:
                    self._sums[index, start:end] += _local(parameter.grad).flatten()
                start = end

    def reduce(self) -> None:
        """Bring the shares of all workers together: before anything is decided by the gradients."""
        if self._sharded:
            self._sums *= self._world  # FSDP has averaged them
        elif self._world > 1:
            dist.all_reduce(self._sums)

    def gram(self) -> NDArray[np.float64]:
        """[K, K] ⟨∇L_k, ∇L_j⟩. Equal gradients have equal rows: each entry is a dot product of its own."""
        count = len(self._sums)
        products = torch.zeros(count, count, dtype=torch.float64, device=self._sums.device)
        for k in range(count):
            for j in range(k, count):
                products[k, j] = products[j, k] = torch.dot(self._sums[k], self._sums[j]).double()
        if self._sharded:
            dist.all_reduce(products)
        return products.cpu().numpy()

    def write(self, coefficients: NDArray[np.float64]) -> None:
        """Let the gradient of every parameter be that of Σ_k c_k L_k. An objective with coefficient 0 may be NaN."""
        total = torch.zeros_like(self._sums[0])
        for own, coefficient in zip(self._sums, coefficients.tolist(), strict=True):
            if coefficient:
                total.add_(own, alpha=coefficient)
        start = 0
        for parameter in self._parameters:
            end = start + _local(parameter).numel()
            if parameter.grad is not None:
                target = _local(parameter.grad)
                target.copy_(total[start:end].view_as(target))
            start = end
        self._sums.zero_()

    def _clear(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None


def cosine(one: NDArray[np.float64], other: NDArray[np.float64], gram: NDArray[np.float64]) -> float:
    """Cosine of the steps Σ_k c_k ∇L_k of two vectors of coefficients; 1 where both are 0, 0 where one is."""
    length, other_length = (float(np.sqrt(max(c @ gram @ c, 0.0))) for c in (one, other))
    if not length or not other_length:
        return float(length == other_length)
    return float(one @ gram @ other) / (length * other_length)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
