"""Sequence-classification models: token ids in, raw outputs of all heads out, the same whatever the batch.

Besides what transformers knows, two layouts are read here, so that neither safe-rlhf nor code from a hub is needed:
a linear head on the last token's hidden state under another name. They were taken from the sources of safe-rlhf's
score model and of ArmoRM's `modeling_custom.py`, and tested on random weights in that layout, not on the originals.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from mora_jobs import api
from mora_jobs.api.inputs import DType, TrustRemoteCode
from mora_jobs.errors import UserError
from mora_jobs.rewards.templates import Encoded

log = logging.getLogger(__name__)
DTYPES = {DType.BFLOAT16: torch.bfloat16, DType.FLOAT16: torch.float16, DType.FLOAT32: torch.float32}
# Architecture in config.json → name of the linear head on the last token.
LAST_TOKEN_HEADS = {
    "LlamaForScore": "score_head",  # beaver reward and cost models (safe-rlhf)
    "LlamaModelForScore": "score_head",  # the same in early checkpoints
    "LlamaForRewardModelWithGating": "regression_layer",  # ArmoRM: 19 objectives; the gating that mixes them is not used
}


class SequenceModel:
    """A model in a local folder, on the first GPU or the CPU. `heads` is the number of its outputs.

    Raises UserError for a model without a trained head (a plain language model would score by random weights).
    """

    def __init__(self, where: str, folder: Path, spec: api.ClassifierReward) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        trust = spec.model.trust_remote_code is TrustRemoteCode.ALLOW
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
        dtype = DTYPES.get(spec.dtype) or (_own_dtype(config) if self.device.type == "cuda" else torch.float32)
        head = LAST_TOKEN_HEADS.get((getattr(config, "architectures", None) or [""])[0])
        self.model: Any = LastTokenModel(where, folder, head, dtype) if head else _load(where, folder, dtype, trust)
        self.model.eval().to(self.device)
        self.config = self.model.config
        self.heads = int(self.model.heads if head else self.config.num_labels)
        self._where, self._tokens = where, spec.batch_tokens
        self._text_config = self.config.get_text_config()
        self._pad: int | None = getattr(self._text_config, "pad_token_id", None)
        if self._pad is not None and self._pad == getattr(self._text_config, "eos_token_id", None):
            log.warning("%s: its pad token is its end token, so texts are read at the last token before it", where)

    def max_length(self, tokenizer: Any) -> int:
        """The longest input in tokens: of the tokenizer and of the position embeddings."""
        positions = getattr(self._text_config, "max_position_embeddings", None) or 10**9
        if self.config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer"):
            positions -= 2  # their positions are counted from the padding index on
        return int(min(positions, tokenizer.model_max_length))

    def outputs(self, inputs: Sequence[Encoded]) -> NDArray[np.float64]:
        """Raw outputs [len(inputs), heads], no sigmoid or softmax; NaN for an input without tokens.

        Raises UserError when the model gives something else than finite numbers.
        """
        found = np.full((len(inputs), self.heads), np.nan)
        for rows in _buckets([len(each.ids) for each in inputs], self._tokens):
            found[rows] = self._forward([inputs[i] for i in rows])
            if not np.isfinite(found[rows]).all():
                raise UserError(self._where, "the model gives NaN or infinity", "use dtype BFloat16 or Float32")
        return found

    def _forward(self, inputs: Sequence[Encoded]) -> NDArray[np.float64]:
        try:
            with torch.inference_mode():
                return self._run(_pad(inputs, self._pad_id(inputs)))
        except torch.OutOfMemoryError:
            if len(inputs) == 1:
                raise
        log.warning("out of memory with %d inputs of %d tokens: split in two", len(inputs), len(inputs[0].ids))
        half = len(inputs) // 2
        return np.concatenate([self._forward(part) for part in (inputs[:half], inputs[half:])])

    def _run(self, batch: dict[str, torch.Tensor]) -> NDArray[np.float64]:
        output = self.model(**{name: tensor.to(self.device) for name, tensor in batch.items()})
        rewards = getattr(output, "rewards", None)  # multi-objective models with code of their own
        values = output.logits if rewards is None else rewards
        return np.asarray(values.float().cpu().numpy(), dtype=np.float64).reshape(len(batch["input_ids"]), -1)

    def _pad_id(self, inputs: Sequence[Encoded]) -> int:
        """What to pad with, so that every row is pooled where it would be alone.

        Decoder classifiers read the last token that is not `config.pad_token_id`. A model that has one is padded with
        it, also where it equals the end token: then it reads the token before, alone as in a batch. A model without
        reads the very last token alone, so its batch is padded with an id that none of the batch's texts ends in.
        """
        if self._pad is not None:
            return self._pad
        ends = {each.ids[-1] for each in inputs}
        chosen = next(i for i in range(self._text_config.vocab_size) if i not in ends)
        self._text_config.pad_token_id = chosen
        return chosen


class LastTokenModel(torch.nn.Module):
    """A decoder with a linear head on the last token, and safe-rlhf's normaliser where its config turns it on."""

    def __init__(self, where: str, folder: Path, head: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.decoder = AutoModel.from_pretrained(folder, dtype=dtype)
        tensors = dict(_tensors(where, folder, (f"{head}.weight", f"{head}.bias")))
        weight = tensors[f"{head}.weight"]
        self.heads = len(weight)
        bias = tensors.get(f"{head}.bias")
        self.head = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=dtype)
        self.head.load_state_dict({"weight": weight} | ({"bias": bias} if bias is not None else {}))
        self.config = config = self.decoder.config
        normalize, scale = getattr(config, "do_normalize", False), getattr(config, "score_type", "reward") == "cost"
        mean = getattr(config, "mean", None) if normalize and not scale else None
        var = getattr(config, "var", None) if normalize else None
        self.register_buffer("mean", torch.tensor(mean if mean is not None else 0.0), persistent=False)
        self.register_buffer("deviation", torch.tensor(var if var is not None else 1.0).sqrt(), persistent=False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> Any:
        hidden = self.decoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        last = attention_mask.sum(-1) - 1  # padding is on the right
        scores = self.head(hidden[torch.arange(len(last), device=last.device), last]).float()
        mean, deviation = self.get_buffer("mean"), self.get_buffer("deviation")
        return _Output((scores - mean) / (deviation + 1e-8))


class _Output:
    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


def _load(where: str, folder: Path, dtype: torch.dtype, trust: bool) -> Any:
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=dtype, trust_remote_code=trust, output_loading_info=True
        )
    except ValueError as error:
        raise UserError(where, f"is no sequence-classification model: {str(error).splitlines()[0]}") from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            where,
            f"has no trained classification head ({', '.join(missing[:3])} missing)",
            "a reward model or a folder made by `mora fit-reward` is needed",
        )
    return model


def _own_dtype(config: Any) -> torch.dtype:
    own = getattr(config, "dtype", None)
    return own if isinstance(own, torch.dtype) else torch.bfloat16


def _tensors(where: str, folder: Path, names: Sequence[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """Some tensors out of a folder of safetensors, without reading the rest."""
    index = folder / "model.safetensors.index.json"
    places = (
        json.loads(index.read_text())["weight_map"] if index.exists() else dict.fromkeys(names, "model.safetensors")
    )
    found = False
    for name in names:
        file = folder / places.get(name, "")
        if not file.is_file():
            continue
        with safe_open(file, framework="pt") as tensors:
            if name in tensors.keys():  # noqa: SIM118 — not a dict
                found = True
                yield name, tensors.get_tensor(name)
    if not found:
        raise UserError(where, f"has no {names[0]} in its safetensors files")


def _buckets(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Rows by length, longest first so that memory is known to suffice at once; a padded batch has ≤ `tokens` tokens."""
    order = sorted((i for i, length in enumerate(lengths) if length), key=lambda i: -lengths[i])
    while order:
        size = max(1, tokens // lengths[order[0]])
        yield order[:size]
        order = order[size:]


def _pad(inputs: Sequence[Encoded], pad: int) -> dict[str, torch.Tensor]:
    width = max(len(each.ids) for each in inputs)
    rows = [each.ids + [pad] * (width - len(each.ids)) for each in inputs]
    mask = [[1] * len(each.ids) + [0] * (width - len(each.ids)) for each in inputs]
    batch = {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}
    if inputs[0].segments is not None:
        segments = [(each.segments or []) + [0] * (width - len(each.ids)) for each in inputs]
        batch["token_type_ids"] = torch.tensor(segments)
    return batch
