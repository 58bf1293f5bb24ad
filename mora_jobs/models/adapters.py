"""Several LoRA adapters as one: the sum of their updates, exactly, by stacking their factors."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mora_jobs.artifacts.remote_files import cache_folder
from mora_jobs.errors import UserError
from mora_jobs.models.cache import made_once
from mora_jobs.models.local_model import ADAPTER_CONFIG, ADAPTER_WEIGHTS, LocalAdapter, LocalModel

# What makes an adapter more than W + s·B·A with one rank and one s.
BEYOND = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "lora_bias", "use_qalora")


def combined_adapter(local: LocalModel) -> Path | None:
    """A PEFT folder with all adapters of `local` in one; the adapter itself when there is one, None when there is none.

    s₁B₁A₁ + s₂B₂A₂ = [s₁B₁ s₂B₂]·[A₁; A₂]: an adapter of the summed rank. Merging into bfloat16 weights instead would
    round small updates away. Raises UserError when an adapter is not a plain LoRA.
    """
    if len(local.adapters) <= 1:
        return local.adapters[0].path if local.adapters else None
    for adapter in local.adapters:
        _check_plain(adapter)
    key = hashlib.sha256("\n".join(each.digest for each in local.adapters).encode()).hexdigest()[:40]
    return made_once("adapters", key, lambda folder: _stack(local, folder))


def forget_copies(before: Iterable[LocalModel], after: Iterable[LocalModel]) -> None:
    """Remove the cached copies of adapters from remote stores that `before` had and `after` has no longer."""
    kept = {adapter.path for local in after for adapter in local.adapters}
    for path in {adapter.path for local in before for adapter in local.adapters} - kept:
        if cache_folder() in path.parents:
            shutil.rmtree(path.parent, ignore_errors=True)


def _stack(local: LocalModel, folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    ranks = [int(each.config["r"]) for each in local.adapters]
    total, offset = sum(ranks), 0
    factors: dict[str, torch.Tensor] = {}
    for adapter, rank in zip(local.adapters, ranks, strict=True):
        scale = adapter.config["lora_alpha"] / (rank**0.5 if adapter.config.get("use_rslora") else rank)
        for name, tensor in load_file(adapter.path / ADAPTER_WEIGHTS).items():
            if ".lora_A." in name:
                whole = factors.setdefault(name, tensor.new_zeros(total, tensor.shape[1], dtype=torch.float32))
                whole[offset : offset + rank] = tensor
            elif ".lora_B." in name:
                whole = factors.setdefault(name, tensor.new_zeros(tensor.shape[0], total, dtype=torch.float32))
                whole[:, offset : offset + rank] = tensor.float() * scale
            else:
                raise UserError(str(adapter.path), f"adapter {adapter.name} holds {name}, which is not a LoRA factor")
        offset += rank
    targets = sorted({name.split(".lora_")[0].rpartition(".")[2] for name in factors})
    config: dict[str, Any] = {
        **local.adapters[0].config,
        "r": total,
        "lora_alpha": total,
        "use_rslora": False,
        "target_modules": targets,
        "layers_to_transform": None,
        "layers_pattern": None,
        "exclude_modules": None,
    }
    save_file(factors, folder / ADAPTER_WEIGHTS)
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2))


def _check_plain(adapter: LocalAdapter) -> None:
    config = adapter.config
    special = [name for name in BEYOND if config.get(name)]
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or special:
        why = ", ".join(special) or f"{config.get('peft_type')}, bias {config.get('bias')}"
        what = f"adapter {adapter.name} is not a plain LoRA ({why}) and cannot be combined with others"
        raise UserError(str(adapter.path), what, "merge it into the model first")
    if not (adapter.path / ADAPTER_WEIGHTS).is_file():
        raise UserError(
            str(adapter.path), f"adapter {adapter.name} has no {ADAPTER_WEIGHTS}", "save it as safetensors"
        )
