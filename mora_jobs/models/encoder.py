"""Sentence embeddings: the mean over tokens of an encoder's last layer, normalised to length 1 (Sentence-BERT, 1908.10084)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

BATCH_TOKENS = 8192


class Encoder:
    """A sentence encoder in a local folder (the transformers layout), in float32 on the first GPU or the CPU."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval().to(self.device)
        limit = getattr(self.model.config, "max_position_embeddings", 512)
        self.max_tokens = min(self.tokenizer.model_max_length, limit)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings [len(texts), width] of length 1. Texts are batched by length, so that little is padding."""
        tokens = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)["input_ids"]
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(tokens)
        start = 0
        while start < len(order):
            end = start + 1
            while end < len(order) and (end + 1 - start) * len(tokens[order[end]]) <= BATCH_TOKENS:
                end += 1
            rows = order[start:end]
            padded = self.tokenizer.pad({"input_ids": [tokens[i] for i in rows]}, return_tensors="pt").to(self.device)
            hidden = self.model(**padded).last_hidden_state
            mask = padded["attention_mask"].unsqueeze(-1)
            pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1)
            for i, vector in zip(rows, pooled.cpu().numpy(), strict=True):
                found[i] = vector
            start = end
        return np.stack(found) if found else np.empty((0, self.model.config.hidden_size), np.float32)
