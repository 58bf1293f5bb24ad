"""Decoding many samples at once so that none of them feels the others.

A batch of changing size or padding changes the last bits of every row, and with them, now and then, a sampled token; then a
resumed run would not be the unbroken one. Here the batch has a fixed number of slots and each row's keys and values stand
at their own positions from 0 on, so a row is computed by the same kernels on the same numbers whoever stands in the other
slots: masked keys weigh exactly 0. That this holds to the last bit on this machine for this model is tried out by
`independent` before it is relied on.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "mora_slots"
BLOCK = 64  # keys are read up to a multiple of this: no kernel has a tail there
PLAIN_ROPE = {"default", "linear", "yarn", "llama3"}  # the others rotate by the longest position of the batch


def suits(model: Any, max_model_len: int) -> bool:
    """Whether the model is a plain decoder: full attention in every layer, by PyTorch's fused kernel, rotary by position."""
    config = model.config.get_text_config(decoder=True)
    layers = getattr(config, "layer_types", None) or []
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        model.config._attn_implementation == "sdpa"
        and not model.config.is_encoder_decoder
        and all(each == "full_attention" for each in layers)
        and (window is None or window >= max_model_len)
        and rope.get("rope_type", "default") in PLAIN_ROPE
    )


class Slots:
    """`count` places for samples of one model, each with room for `longest` tokens."""

    def __init__(self, model: Any, count: int, longest: int) -> None:
        self.count = count
        self.longest = longest
        self._model = model
        model.set_attn_implementation(ATTENTION)
        config = model.config.get_text_config(decoder=True)
        self._cache = _SlotCache(config.num_hidden_layers, count, model.device)

    def prefill(self, ids: list[int]) -> tuple[DynamicCache, Tensor]:
        """Read a prompt, alone in its batch: its keys and values, and the logits [vocabulary] of the next token."""
        return prefill(self._model, ids)

    def admit(self, places: list[int], prefix: DynamicCache, length: int) -> None:
        """Put a prompt of `length` tokens that `prefill` read into each of `places`."""
        self._cache.reserve(length)
        for layer, read in zip(self._cache.layers, prefix.layers, strict=True):
            layer.put(places, read.keys[0], read.values[0])

    def step(self, tokens: dict[int, int], positions: dict[int, int], at_least: int = 0) -> Tensor:
        """Append to the places in `tokens` one token each at its position; logits [count, vocabulary].

        Rows of other places mean nothing. `at_least` widens the reading of keys (for trying out that it changes nothing).
        """
        longest = max([*positions.values(), at_least]) + 1
        self._cache.reserve(longest)
        device = self._model.device
        ids = torch.tensor([[tokens.get(place, 0)] for place in range(self.count)], device=device)
        at = torch.tensor([positions.get(place, 0) for place in range(self.count)], device=device)
        self._cache.at, self._cache.view = at, _blocks(longest)
        seen = torch.arange(self._cache.view, device=device)[None, :] <= at[:, None]
        out = self._model(
            ids,
            attention_mask=seen[:, None, None, :],
            position_ids=at[:, None],
            past_key_values=self._cache,
            use_cache=True,
        )
        logits: Tensor = out.logits[:, -1]
        return logits

    def independent(self) -> bool:
        """Try out that a row's logits do not change by a bit with its place, its neighbours and the width of the batch's
        longest row, and that they are those of the model itself."""
        vocabulary = self._model.get_input_embeddings().weight.shape[0]
        mine = [(7 + 31 * i) % vocabulary for i in range(21)]
        other = [(5 + 17 * i) % vocabulary for i in range(33)]
        read, _ = self.prefill(mine[:19])
        theirs, _ = self.prefill(other[:31])
        alone, crowd, last = [], [], self.count - 1
        self.admit([0], read, 19)
        for at in (19, 20):
            alone.append(self.step({0: mine[at]}, {0: at})[0])
        self.admit(list(range(last)), theirs, 31)
        self.admit([last], read, 19)
        for at in (19, 20):
            tokens = dict.fromkeys(range(last), other[at + 12]) | {last: mine[at]}
            positions = dict.fromkeys(range(last), at + 12) | {last: at}
            crowd.append(self.step(tokens, positions, at_least=min(self.longest, 3 * BLOCK) - 1)[last])
        equal = all(torch.equal(a, b) for a, b in zip(alone, crowd, strict=True))
        truth = self.prefill(mine)[1].float()
        near = torch.nn.functional.cosine_similarity(alone[-1].float(), truth, dim=0) > 0.99
        return equal and bool(near)


def prefill(model: Any, ids: list[int], copies: int = 1) -> tuple[DynamicCache, Tensor]:
    """Read a prompt `copies` times: the cache, and the logits of the next token ([vocabulary], or [copies, vocabulary])."""
    cache = DynamicCache(config=model.config)
    tokens = torch.tensor([ids] * copies, device=model.device)
    logits = model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
    return cache, logits[0] if copies == 1 else logits


class _SlotLayer(CacheLayerMixin):
    """Keys and values [slots, heads, capacity, width] of one layer."""

    def __init__(self, owner: "_SlotCache") -> None:
        super().__init__()
        self.owner = owner
        self.keys: Any = None
        self.values: Any = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        count, capacity = self.owner.count, self.owner.capacity
        # Zeros, not empty: a masked key weighs 0, but 0 × NaN is NaN.
        self.keys = key_states.new_zeros(count, key_states.shape[-3], capacity, key_states.shape[-1])
        self.values = value_states.new_zeros(count, value_states.shape[-3], capacity, value_states.shape[-1])
        self.is_initialized = True

    def put(self, places: list[int], keys: Tensor, values: Tensor) -> None:
        """Write keys and values [heads, length, width] of a prompt to the places, from position 0 on."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self.keys[places, :, : keys.shape[1]] = keys
        self.values[places, :, : values.shape[1]] = values

    def grow(self, capacity: int) -> None:
        if self.is_initialized:
            more = (0, 0, 0, capacity - self.keys.shape[2])
            self.keys = torch.nn.functional.pad(self.keys, more)
            self.values = torch.nn.functional.pad(self.values, more)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        owner = self.owner
        self.keys[owner.rows, :, owner.at] = key_states[:, :, 0]
        self.values[owner.rows, :, owner.at] = value_states[:, :, 0]
        return self.keys[:, :, : owner.view], self.values[:, :, : owner.view]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.owner.view, 0

    def get_seq_length(self) -> int:
        return self.owner.view

    def get_max_length(self) -> int:
        return self.owner.capacity


class _SlotCache(Cache):
    def __init__(self, layers: int, count: int, device: torch.device) -> None:
        self.count = count
        self.capacity = BLOCK
        self.view = BLOCK
        self.rows = torch.arange(count, device=device)
        self.at = torch.zeros(count, dtype=torch.long, device=device)
        super().__init__(layers=[_SlotLayer(self) for _ in range(layers)])

    def reserve(self, length: int) -> None:
        """Make room for rows of `length` tokens; doubling, so that growing is rare."""
        if length > self.capacity:
            self.capacity = max(_blocks(length), 2 * self.capacity)
            for layer in self.layers:
                layer.grow(self.capacity)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' SDPA, but without copying keys for grouped queries when one token per row is decoded."""
    if attention_mask is None or query.shape[2] != 1 or kwargs.get("position_bias") is not None:
        found: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return found
    out = torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask,
        scale=kwargs.get("scaling"),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.transpose(1, 2).contiguous(), None


def _blocks(length: int) -> int:
    return -(-length // BLOCK) * BLOCK


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
