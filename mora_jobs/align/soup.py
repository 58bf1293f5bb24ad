"""Adapters combined in weight space: ΔW = Σ_i c_i (α_i/r_i) B_i A_i (Rewarded Soups, arXiv 2306.04488).

The sum of low-rank updates is the low-rank update of the stacked factors,

    Σ_i c_i s_i B_i A_i  =  [c_1 s_1 B_1 … c_n s_n B_n] · [A_1; …; A_n],

so the combination is an ordinary adapter of rank Σ r_i, exact and without touching the base model. Averaging A and B apart
would give (Σ c_i B_i)(Σ c_i A_i), which is another matrix.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mora_jobs.align.adapters import write_config
from mora_jobs.errors import UserError
from mora_jobs.models.local_model import ADAPTER_CONFIG, ADAPTER_WEIGHTS

FACTOR = re.compile(r"(.+)\.lora_([AB])\.weight")


@dataclass(frozen=True)
class Update:
    """ΔW = scale · B A of one module, B [out, r], A [r, in]."""

    a: Tensor
    b: Tensor
    scale: float


def combine(parts: Sequence[tuple[Path, float]], folder: Path) -> None:
    """Write the adapter Σ coefficient · ΔW of the adapter folders `parts` into `folder`.

    A module that only some of the adapters have gets the updates of those. UserError for adapters that are more than
    low-rank updates of linear layers (DoRA, trained biases or embeddings).
    """
    adapters = [(_read(path), coefficient) for path, coefficient in parts if coefficient != 0]
    modules = sorted({module for updates, _ in adapters for module in updates})
    state: dict[str, Tensor] = {}
    for module in modules:
        own = [(updates[module], coefficient) for updates, coefficient in adapters if module in updates]
        state[f"{module}.lora_A.weight"] = torch.cat([update.a for update, _ in own])
        state[f"{module}.lora_B.weight"] = torch.cat([update.b * (c * update.scale) for update, c in own], dim=1)
    ranks = {module: len(state[f"{module}.lora_A.weight"]) for module in modules}
    rank = max(ranks.values())
    for module, own_rank in ranks.items():  # one rank for all modules: engines take no other adapters
        a, b = state[f"{module}.lora_A.weight"], state[f"{module}.lora_B.weight"]
        state[f"{module}.lora_A.weight"] = torch.cat([a, a.new_zeros(rank - own_rank, a.shape[1])]).contiguous()
        state[f"{module}.lora_B.weight"] = torch.cat([b, b.new_zeros(len(b), rank - own_rank)], dim=1).contiguous()
    config = json.loads((parts[0][0] / ADAPTER_CONFIG).read_text())
    config |= {
        "r": rank,
        "lora_alpha": rank,  # B is scaled already
        "use_rslora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
        "lora_dropout": 0.0,
        "target_modules": sorted({module.rpartition(".")[2] for module in modules}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    write_config(config, folder)


def low_rank_updates(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """B [out, r], scaled, and A [r, in] by module, in fp32: ΔW = B A."""
    return {module: (update.scale * update.b, update.a) for module, update in _read(folder).items()}


def updates_of(folder: Path) -> dict[str, Tensor]:
    """ΔW in fp32 by module, for merging."""
    return {module: update.scale * (update.b @ update.a) for module, update in _read(folder).items()}


def _read(folder: Path) -> dict[str, Update]:
    config = json.loads((folder / ADAPTER_CONFIG).read_text())
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("bias", "none") != "none":
        raise UserError(str(folder), "is not a plain LoRA adapter", "DoRA and trained biases cannot be combined")
    factors: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load_file(folder / ADAPTER_WEIGHTS).items():
        match = FACTOR.fullmatch(name)
        if match is None:
            raise UserError(str(folder), f"holds {name}, which is no low-rank update of a linear layer")
        factors.setdefault(match[1], {})[match[2]] = tensor.float()
    return {
        module: Update(pair["A"], pair["B"], _scale(config, module, len(pair["A"])))
        for module, pair in factors.items()
    }


def _scale(config: dict[str, Any], module: str, rank: int) -> float:
    """α/r, or α/√r for rank-stabilised LoRA (arXiv 2312.03732); `alpha_pattern` may name modules of their own."""
    alpha = next(
        (
            value
            for pattern, value in (config.get("alpha_pattern") or {}).items()
            if re.search(rf"(^|\.){pattern}$", module)
        ),
        config["lora_alpha"],
    )
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)
