"""A model URI becomes a local folder, its tokenizer and its chat template, each pinned by a digest."""

from mora_jobs.models.adapters import combined_adapter, forget_copies
from mora_jobs.models.chat import load_tokenizer, render_chat
from mora_jobs.models.local_model import LocalAdapter, LocalModel, fetch
from mora_jobs.models.weights import load_causal_lm

__all__ = [
    "LocalAdapter",
    "LocalModel",
    "combined_adapter",
    "fetch",
    "forget_copies",
    "load_causal_lm",
    "load_tokenizer",
    "render_chat",
]
