"""Drawing tokens: row by row, each from random numbers of its own, so that no row feels its neighbours."""

import numpy as np
import torch
from torch import Tensor

from mora_jobs import api

BLOCK = 128


class Uniforms:
    """Uniform numbers of sample `index` of a request: a Philox stream keyed by (seed, index), so streams never overlap."""

    def __init__(self, seed: int, index: int) -> None:
        self._generator = np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))
        self._block: list[float] = []

    def next(self) -> float:
        """The next number in [0, 1)."""
        if not self._block:
            self._block = self._generator.random(BLOCK).tolist()[::-1]
        return self._block.pop()


def draw(logits: Tensor, sampling: api.Sampling, uniforms: list[float]) -> list[int]:
    """One token for each row of `logits` [rows, vocabulary], by inverting the cumulative distribution at its uniform.

    Temperature, then the topK likeliest, then the smallest set of likeliest tokens that holds topP (Holtzman et al.,
    1904.09751). Temperature 0 takes the likeliest.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1).tolist()
    scores = logits.float() / sampling.temperature
    vocabulary = scores.shape[-1]
    order: Tensor | None = None
    if 0 < sampling.top_k < vocabulary:
        scores, order = scores.topk(sampling.top_k, dim=-1)
    elif sampling.top_p < 1:
        scores, order = scores.sort(dim=-1, descending=True, stable=True)
    cumulative = scores.softmax(-1).double().cumsum(-1)
    total = cumulative[:, -1:]
    if sampling.top_p < 1:
        # The set ends with the first token at which the cumulative probability reaches topP.
        last = (cumulative < sampling.top_p * total).sum(-1, keepdim=True).clamp(max=cumulative.shape[-1] - 1)
        total = cumulative.gather(-1, last)
    at = torch.tensor(uniforms, dtype=torch.float64, device=logits.device).unsqueeze(-1) * total
    # The first token whose cumulative probability exceeds the mark: a token of probability 0 is never taken.
    chosen = torch.searchsorted(cumulative, at, right=True).clamp(max=cumulative.shape[-1] - 1)
    if order is not None:
        chosen = order.gather(-1, chosen)
    return chosen.squeeze(-1).tolist()
