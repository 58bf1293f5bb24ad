"""Log-probabilities of responses, with the vocabulary projection for response tokens only.

The head is the largest matrix of a small model (SmolLM2-135M: 28 of 134 M parameters) and its logits the largest tensor
of any step. The projection runs in tiles (TRL's kernel, Triton on GPUs), so that [tokens, vocabulary] never exists, and
over the tokens that count.
"""

import functools
import types
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from trl.kernels import ChunkedLogProbFunction

from mora_jobs.errors import UserError

TILE = 32_768  # vocabulary entries projected at once


def add_response_likelihood(model: PreTrainedModel) -> None:
    """Let `model(..., completion_mask=mask)` return [rows] Σ_t log p(token_t | before) over the masked tokens, in nats.

    Without the mask the forward pass is the original one. The pass has to go through `forward`, because DDP and FSDP hang
    their communication on it. Call this before PEFT wraps the model.
    """
    original = model.forward
    cap, scale = _logit_form(model)

    @functools.wraps(type(model).forward)
    def forward(self: PreTrainedModel, *args: Any, completion_mask: Tensor | None = None, **kwargs: Any) -> Any:
        if completion_mask is None:
            return original(*args, **kwargs)
        ids: Tensor = kwargs["input_ids"]
        hidden = self.base_model(**kwargs, use_cache=False).last_hidden_state
        mask = completion_mask[:, 1:]  # position t predicts token t + 1
        weight, bias = _head(self)
        tokens = ChunkedLogProbFunction.apply(
            hidden[:, :-1][mask], weight, bias, ids[:, 1:][mask], 1.0, TILE, cap, scale, ("log_probs",)
        )[0]
        # masked_scatter, not index_add: the latter adds in any order on a GPU, and runs would not repeat.
        spread = torch.zeros(mask.shape, dtype=torch.float32, device=ids.device).masked_scatter(mask, tokens.float())
        return spread.sum(dim=1)

    model.forward = types.MethodType(forward, model)


def _head(model: PreTrainedModel) -> tuple[Tensor, Tensor | None]:
    head = model.get_output_embeddings()
    if hasattr(head, "base_layer"):
        raise UserError("spec.lora.targetModules", "the output layer cannot be adapted", "leave lm_head out")
    weight, bias = head.weight, getattr(head, "bias", None)
    # FSDP shows parameters as shards; every tile needs the same whole head.
    weight = weight.full_tensor() if isinstance(weight, DTensor) else weight
    return weight, bias.full_tensor() if isinstance(bias, DTensor) else bias


def _logit_form(model: PreTrainedModel) -> tuple[float | None, float]:
    """(soft cap, factor) that some architectures apply to their logits."""
    config = model.config.get_text_config()
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if getattr(config, name, None) is not None:
            return getattr(config, "final_logit_softcapping", None), float(getattr(config, name))
    divisor = getattr(config, "logits_scaling", None)
    scale = 1.0 if divisor is None else divisor if config.model_type == "hyperclovax" else 1 / divisor
    return getattr(config, "final_logit_softcapping", None), float(scale)
