"""The model that is trained: loading, adapters, saving.

With spec.lora a policy is the base model, a frozen adapter (what spec.model.adapters and earlier stages brought) and the
adapter that is trained. The frozen one stays beside the weights instead of being merged into them: the function is the
same, and bf16 weights would round most of a small ΔW away.
"""

import dataclasses
import json
import os
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mora_jobs.align.adapters import write_config
from mora_jobs.align.likelihood import add_response_likelihood
from mora_jobs.align.sharding import copy_into, whole
from mora_jobs.api.inputs import DType
from mora_jobs.api.training import LoRA
from mora_jobs.errors import UserError
from mora_jobs.models import LocalModel, load_causal_lm
from mora_jobs.models.local_model import ADAPTER_CONFIG

WEIGHTS = "trained.safetensors"
FROZEN = "frozen"
TRAINED = "default"  # PEFT saves the adapter of this name at the top of a folder, where every engine looks for it
Policy = PreTrainedModel | PeftModel


def load_policy(local: LocalModel, frozen: Path | None, lora: LoRA | None, *, bf16: bool) -> Policy:
    """The policy before its first step, on the CPU: with LoRA the trained adapter has B = 0.

    With LoRA the base weights are bf16 or fp32, as `bf16` says, and adapters are fp32; without it all weights are fp32 (the
    masters that autocast reads), with the adapters of `local` merged. `frozen` is an adapter folder. Set the seed before:
    A is drawn at random.
    """
    if lora is None:
        model = load_causal_lm(local, DType.FLOAT32)
        add_response_likelihood(model)
        return model.requires_grad_(True)
    model = load_causal_lm(dataclasses.replace(local, adapters=()), DType.BFLOAT16 if bf16 else DType.FLOAT32)
    add_response_likelihood(model)
    try:
        policy = get_peft_model(model, _lora_config(lora))
    except ValueError as error:
        raise UserError("spec.lora.targetModules", str(error).splitlines()[0]) from error
    if frozen is not None:
        policy.load_adapter(frozen, FROZEN)
        policy.base_model.set_adapter([FROZEN, TRAINED])
        for name, parameter in policy.named_parameters():
            if f".{FROZEN}." in name:
                parameter.requires_grad_(False)
    return policy


def load_reference(local: LocalModel, *, bf16: bool) -> PreTrainedModel:
    """A reference model of its own, with its adapters merged, not trained."""
    model = load_causal_lm(local, DType.BFLOAT16 if bf16 else DType.FLOAT32)
    add_response_likelihood(model)
    return model.requires_grad_(False)


def trained_state(model: torch.nn.Module, keep: bool = True) -> dict[str, Tensor]:
    """The trained parameters by name (tied ones once), on the CPU: what a checkpoint needs besides the base model.

    Under FSDP all workers must call it, and those with `keep` False get an empty dict.
    """
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            value = whole(parameter.detach())
            if keep:
                state[name] = value.cpu().contiguous()
    return state


def save_trained(model: torch.nn.Module, folder: str, keep: bool) -> None:
    """The trained parameters as a checkpoint's file. Under FSDP all workers must call it; those with `keep` False write nothing."""
    os.makedirs(folder, exist_ok=True)
    state = trained_state(model, keep=keep)
    if keep:
        save_file(state, os.path.join(folder, WEIGHTS))


def load_trained(model: torch.nn.Module, folder: str) -> None:
    """Read what `save_trained` wrote into the model."""
    saved = load_file(os.path.join(folder, WEIGHTS))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                copy_into(parameter, saved[name])


def save_policy(
    model: Policy, state: dict[str, Tensor], tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype
) -> None:
    """Write the trained adapter (fp32), or without LoRA the whole model in `dtype` with its tokenizer.

    `state` is what trained_state gave.
    """
    if isinstance(model, PeftModel):
        model.save_pretrained(folder, selected_adapters=[TRAINED], state_dict=state)
        config = json.loads((folder / ADAPTER_CONFIG).read_text())
        # The path of a local copy says nothing on another machine, and would differ between equal runs.
        config["base_model_name_or_path"] = None
        write_config(config, folder)
        (folder / "README.md").unlink(missing_ok=True)
    else:
        model.save_pretrained(folder, state_dict={name: value.to(dtype) for name, value in state.items()})
        tokenizer.save_pretrained(folder)


def _lora_config(lora: LoRA) -> LoraConfig:
    targets = "all-linear" if lora.target_modules == ["all-linear"] else list(lora.target_modules)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # any number scales
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
