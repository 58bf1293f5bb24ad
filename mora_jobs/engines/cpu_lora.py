"""LoRA in vLLM on CPUs, fast enough to use.

vLLM's CPU path copies the factors of the adapter for every token of a batch before it multiplies (vllm.lora.ops.torch_ops
in 0.32): with an adapter on all linear layers a model of 135 M parameters generates several times slower than without.
An engine of ours holds one adapter at a time (max_loras=1): each token uses that one or none, and two matrix products do.
"""

from typing import Any

from torch import Tensor
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform


class OneAdapter(PunicaWrapperCPU):
    """LoRA operations where at most one adapter is loaded; a token's index is 0 for it and −1 for none."""

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """What is different in the next batch."""
        super().update_metadata(*args, **kwargs)
        adapted = self.token_lora_indices >= 0
        self._some, self._all = bool(adapted.any()), bool(adapted.all())

    def add_lora_linear(
        self,
        y: Tensor,
        x: Tensor,
        lora_a_stacked: tuple[Tensor, ...],
        lora_b_stacked: tuple[Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **_: Any,
    ) -> None:
        """y[tokens, out] += scale · x Aᵀ Bᵀ, for each slice of the columns with its own A[r, in] and B[slice, r]."""
        rows, start = y.view(-1, y.shape[-1]), 0
        for a, b, size in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            self._add(rows[:, start : start + size], x.view(-1, x.shape[-1]), a, b, scale, self.token_lora_indices)
            start += size

    def add_lora_logits(
        self, y: Tensor, x: Tensor, lora_a_stacked: Tensor, lora_b_stacked: Tensor, scale: float, **_: Any
    ) -> None:
        """The same for the output layer, which vLLM wraps whether the adapter has it or not."""
        self._add(
            y.view(-1, y.shape[-1]),
            x.view(-1, x.shape[-1]),
            lora_a_stacked,
            lora_b_stacked,
            scale,
            self.sampler_indices,
        )

    def _add(self, y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: float, indices: Tensor) -> None:
        if not self._some:
            return
        low = x @ a.reshape(a.shape[-2:]).T
        if not self._all:
            low *= (indices >= 0)[:, None]
        b = b.reshape(b.shape[-2:])
        y[:, : len(b)].addmm_(low, b.T, alpha=scale)


def use_one_adapter_at_a_time() -> None:
    """Let this process's engine use it."""
    type(current_platform).get_punica_wrapper = classmethod(lambda cls: f"{__name__}.{OneAdapter.__name__}")
