"""Loading a causal language model with its adapters merged in."""

import hashlib
from pathlib import Path
from typing import Any

from mora_jobs import api
from mora_jobs.api.inputs import DType
from mora_jobs.errors import UserError
from mora_jobs.models.cache import made_once
from mora_jobs.models.chat import load_tokenizer
from mora_jobs.models.local_model import LocalAdapter, LocalModel, fetch


def load_causal_lm(model: api.ModelRef | LocalModel, dtype: DType = DType.AUTO) -> Any:
    """The model (transformers) on the CPU in eval mode, with its adapters merged in their order.

    With adapters the sum is taken in float32 and rounded once. DType.AUTO is the format the weights are stored in.
    Raises UserError when the folder does not hold a causal language model or an adapter does not fit it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    local = fetch(model) if isinstance(model, api.ModelRef) else model
    wanted = getattr(torch, dtype.value.lower()) if dtype is not DType.AUTO else "auto"
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            local.path, dtype=wanted, trust_remote_code=local.trust_remote_code
        )
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        raise UserError(local.uri, f"cannot be loaded as a language model ({_first_line(error)})") from error
    if local.adapters:
        final = loaded.dtype
        loaded = loaded.to(torch.float32)
        for adapter in local.adapters:
            loaded = _merge(loaded, adapter)
        loaded = loaded.to(final)
    return loaded.eval()


def merged_folder(local: LocalModel, dtype: DType = DType.AUTO) -> Path:
    """A model folder with the adapters of `local` merged in, made once; `local.path` itself when it has none."""
    if not local.adapters:
        return local.path

    def merge(folder: Path) -> None:
        load_causal_lm(local, dtype).save_pretrained(folder)
        load_tokenizer(local).save_pretrained(folder)

    parts = "\n".join(
        [local.digest, dtype.value, local.chat_template or "", *(each.digest for each in local.adapters)]
    )
    return made_once("merged", hashlib.sha256(parts.encode()).hexdigest()[:40], merge)


def _merge(model: Any, adapter: LocalAdapter) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, adapter.path, adapter_name=adapter.name).merge_and_unload()
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        what = f"adapter {adapter.name} does not fit the model ({_first_line(error)})"
        raise UserError(str(adapter.path), what) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
