"""Loading a causal language model with its adapters in force."""

from typing import Any

from mora_jobs import api
from mora_jobs.api.inputs import DType
from mora_jobs.errors import UserError
from mora_jobs.models.adapters import combined_adapter
from mora_jobs.models.local_model import LocalModel, fetch


def load_causal_lm(model: api.ModelRef | LocalModel, dtype: DType = DType.AUTO) -> Any:
    """The model (transformers) on the CPU in eval mode, with its adapters in force.

    In float32 the adapters are merged into the weights. In half precision they stay beside them, or most of a small update
    would be rounded away. DType.AUTO is the format the weights are stored in. Raises UserError when the folder does not
    hold a causal language model or an adapter does not fit it.
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
        loaded = _with_adapters(loaded, local)
    return loaded.eval()


def _with_adapters(model: Any, local: LocalModel) -> Any:
    import torch
    from peft import PeftModel

    folder = combined_adapter(local)
    names = ", ".join(each.name for each in local.adapters)
    try:
        adapted = PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise UserError(local.uri, f"its adapters ({names}) do not fit ({_first_line(error)})") from error
    if model.dtype == torch.float32:
        return adapted.merge_and_unload()
    # The adapter's layers are in place: the plain model class around them is what engines know how to drive.
    return adapted.get_base_model().to(model.dtype)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
