"""LoRA in vLLM on CPUs, fast enough to use.

vLLM's CPU path copies the factors of the adapter for every token of a batch before it multiplies (vllm.lora.ops.torch_ops
in 0.32): with an adapter on all linear layers a model of 135 M parameters generates several times slower than without.
An engine of ours holds one adapter at a time (max_loras=1): each token uses that one or none, and matrix products do.
"""

from torch import Tensor
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform


class OneAdapter(PunicaWrapperCPU):
    """LoRA operations where at most one adapter is loaded; a token's index is 0 for it and −1 for none."""

    def _apply_shrink(self, y: Tensor, x: Tensor, w_t_all: Tensor, scale: float) -> None:
        """y[tokens, r] = scale · x Aᵀ, for A = w_t_all[0, 0]."""
        y[:, : w_t_all.shape[-2]] = scale * (x.to(y.dtype) @ _only(w_t_all, y).T)

    def _apply_expand(
        self, y: Tensor, x: Tensor, w_t_all: Tensor, y_offset: int, y_slice_size: int, add_inputs: bool = True
    ) -> None:
        """y[tokens, out] += x Bᵀ in the columns of one slice, for B = w_t_all[0, 0]; 0 for tokens without an adapter."""
        update = x.to(y.dtype) @ _only(w_t_all, y).T * (self.token_lora_indices >= 0)[:, None]
        columns = y[:, y_offset : y_offset + min(y_slice_size, update.shape[1])]
        columns.copy_(columns + update[:, : columns.shape[1]] if add_inputs else update[:, : columns.shape[1]])


def use_one_adapter_at_a_time() -> None:
    """Let this process's engine use it."""
    type(current_platform).get_punica_wrapper = classmethod(lambda cls: f"{__name__}.{OneAdapter.__name__}")


def _only(factors: Tensor, like: Tensor) -> Tensor:
    return factors.reshape(factors.shape[-2:]).to(like.dtype)
