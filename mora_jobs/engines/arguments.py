"""What a manifest says about the engine, as the arguments that the engine takes."""

from collections.abc import Callable
from typing import Any

from mora_jobs import api
from mora_jobs.api.inputs import DType, EngineType, Quantization
from mora_jobs.errors import UserError
from mora_jobs.models import LocalModel

GIB = 2**30
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
PREQUANTIZED = {Quantization.AWQ: "awq", Quantization.GPTQ: "gptq"}
ONLINE = {Quantization.FP8: "fp8", Quantization.BITSANDBYTES: "bitsandbytes"}


def _flag(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError("true or false")
    return text.lower() == "true"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("a whole number from 1 on")
    return int(text)


def _amount(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number") from None


# Speed and memory only: nothing here changes what is computed beyond rounding, runs foreign code or opens a path.
ALLOWED: dict[str, Callable[[str], Any]] = {
    "async_scheduling": _flag,
    "attention_backend": str,
    "block_size": _count,
    "cpu_offload_gb": _amount,
    "disable_cascade_attn": _flag,
    "disable_custom_all_reduce": _flag,
    "enable_chunked_prefill": _flag,
    "enable_expert_parallel": _flag,
    "enforce_eager": _flag,
    "kv_cache_dtype": str,
    "kv_cache_memory_bytes": _count,
    "load_format": str,
    "max_num_batched_tokens": _count,
    "max_num_seqs": _count,
    "num_gpu_blocks_override": _count,
    "optimization_level": int,
    "tokenizer_mode": str,
}
FOR_TRANSFORMERS = {"max_num_seqs"}


def checked_arguments(engine: api.Engine, runs: EngineType) -> dict[str, Any]:
    """extraArgs with their types, for the engine that `runs`. Raises UserError for what is not on the list.

    Where engine.type is Auto and transformers runs, arguments that are meant for vLLM are left out.
    """
    allowed = ALLOWED
    if runs is EngineType.TRANSFORMERS and engine.type is EngineType.TRANSFORMERS:
        allowed = {name: ALLOWED[name] for name in FOR_TRANSFORMERS}
    found: dict[str, Any] = {}
    for name, text in engine.extra_args.items():
        plain = name.replace("-", "_")
        if plain not in allowed:
            raise UserError(f"engine.extraArgs.{name}", "is not allowed", f"allowed are {', '.join(sorted(allowed))}")
        try:
            value = allowed[plain](text)
        except ValueError as error:
            raise UserError(f"engine.extraArgs.{name}", f"{text!r} is not {error}") from error
        if runs is EngineType.VLLM or plain in FOR_TRANSFORMERS:
            found[plain] = value
    return found


def check_settings(engine: api.Engine, runs: EngineType, *, gpus: bool) -> None:
    """Refuse what cannot be followed whatever the model is. Raises UserError."""
    checked_arguments(engine, runs)
    shared = engine.tensor_parallel_size * engine.pipeline_parallel_size > 1
    where = "engine.tensorParallelSize" if engine.tensor_parallel_size > 1 else "engine.pipelineParallelSize"
    if runs is EngineType.TRANSFORMERS:
        if engine.quantization is not Quantization.NONE:
            what = f"{engine.quantization.value} needs vLLM, and the transformers engine runs here"
            raise UserError("engine.quantization", what, "use engine.type: VLLM")
        if shared:
            raise UserError(where, "the transformers engine runs on one device", "use engine.type: VLLM")
    elif shared and not gpus:
        raise UserError(where, "there are no GPUs to share the model", "set it to 1")


def vllm_arguments(
    engine: api.Engine, local: LocalModel, quantized: str | None, *, gpus: bool, rank: int = 0
) -> dict[str, Any]:
    """Keyword arguments of vLLM's EngineArgs. `quantized` is the method that the model's config names, if any; `rank` the
    largest rank of an adapter that the engine has to take, 0 for none.

    Raises UserError when the manifest asks for what this model or machine cannot do.
    """
    extra = checked_arguments(engine, EngineType.VLLM)
    arguments: dict[str, Any] = {
        "model": str(local.path),
        "tokenizer": str(local.path),
        "trust_remote_code": local.trust_remote_code,
        "dtype": "auto" if engine.dtype is DType.AUTO else engine.dtype.value.lower(),
        "seed": 0,  # of what no request seeds: nothing
        "max_model_len": engine.max_model_len,
        "enable_prefix_caching": engine.enable_prefix_caching,
        "max_num_seqs": 256 if gpus else 128,
        "disable_log_stats": True,
    }
    arguments["quantization"] = _quantization(engine, local, quantized)
    if gpus:
        arguments |= {
            "gpu_memory_utilization": engine.gpu_memory_utilization,
            "tensor_parallel_size": engine.tensor_parallel_size,
            "pipeline_parallel_size": engine.pipeline_parallel_size,
        }
        if engine.tensor_parallel_size * engine.pipeline_parallel_size > 1:
            arguments["distributed_executor_backend"] = "ray"  # takes the actor's placement group
    else:
        arguments |= {
            "enforce_eager": True,
            # Without compilation nothing fuses PyTorch's element-wise operations: take vLLM's own kernels.
            "compilation_config": {"custom_ops": ["all"]},
            "enable_chunked_prefill": False,  # with per-request seeds it crashes on CPUs
            "max_num_batched_tokens": max(8192, engine.max_model_len or 0),
            "kv_cache_memory_bytes": GIB,
        }
    if rank:
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": lora_rank(rank)}
    return arguments | extra


def lora_rank(rank: int) -> int:
    """The smallest rank that vLLM has kernels for and that holds `rank`. Raises UserError above 512."""
    for each in LORA_RANKS:
        if rank <= each:
            return each
    raise UserError("model.adapters", f"their ranks add up to {rank}, vLLM takes {LORA_RANKS[-1]}", "merge them first")


def _quantization(engine: api.Engine, local: LocalModel, quantized: str | None) -> str | None:
    if method := PREQUANTIZED.get(engine.quantization):
        # Left to vLLM, which reads the config and picks the fastest kernel; naming the method would pin the slow one.
        if quantized is None or not quantized.startswith(method):
            what = f"{engine.quantization.value} is asked for, but {local.uri} is not quantised so"
            raise UserError("engine.quantization", what, "use a model that is, or quantization: None")
        return None
    return ONLINE.get(engine.quantization)
