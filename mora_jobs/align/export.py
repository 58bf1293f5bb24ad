"""The models that a job hands over, points/<name>/, as spec.output.save says: an adapter, a merged model, a full model."""

import dataclasses
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from mora_jobs.align.soup import combine, updates_of
from mora_jobs.models import LocalModel, load_causal_lm, load_tokenizer

Parts = Sequence[tuple[Path, float]]


def export_adapter(parts: Parts, folder: Path) -> None:
    """One adapter over the bare base model: Σ coefficient · ΔW."""
    combine(parts, folder)


@torch.no_grad()
def export_merged(local: LocalModel, parts: Parts, folder: Path) -> None:
    """The base model with Σ coefficient · ΔW added in fp32 and rounded once to the format of its weights."""
    model = load_causal_lm(dataclasses.replace(local, adapters=()))
    total: dict[str, Tensor] = {}
    for path, coefficient in parts:
        for module, update in updates_of(path).items():
            total[module] = total.get(module, torch.zeros(())) + coefficient * update
    for module, update in total.items():
        weight = model.get_submodule(module.removeprefix("base_model.model.")).weight
        # GPT-2's Conv1D keeps its weight transposed.
        update = update if weight.shape == update.shape else update.T
        weight.copy_((weight.float() + update).to(weight.dtype))
    _save(model, local, folder)


@torch.no_grad()
def export_full(local: LocalModel, parts: Parts, folder: Path) -> None:
    """Σ coefficient · θ of fully trained models, in fp32 and rounded once (Rewarded Soups on all weights)."""
    model = load_causal_lm(dataclasses.replace(local, path=parts[0][0], adapters=()))
    with ExitStack() as stack:
        sources = [(_Weights(path, stack), coefficient) for path, coefficient in parts]
        for name, parameter in model.named_parameters():
            mixed = sum((coefficient * source.read(name).float() for source, coefficient in sources), torch.zeros(()))
            parameter.copy_(mixed.to(parameter.dtype))
    _save(model, local, folder)


class _Weights:
    """Tensors of a model folder, one at a time."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        index = folder / "model.safetensors.index.json"
        names = set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else {"model.safetensors"}
        self._files = [stack.enter_context(safe_open(folder / name, "pt")) for name in sorted(names)]
        self._where = {key: file for file in self._files for key in file.keys()}  # noqa: SIM118  # not a dict

    def read(self, name: str) -> Tensor:
        return self._where[name].get_tensor(name)


def _save(model: torch.nn.Module, local: LocalModel, folder: Path) -> None:
    model.save_pretrained(folder)
    load_tokenizer(local).save_pretrained(folder)
