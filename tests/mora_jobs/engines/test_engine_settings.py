"""What a manifest says about the engine becomes arguments, environment and placement, or one clear line."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from mora_jobs import api
from mora_jobs.api.inputs import EngineType
from mora_jobs.engines.arguments import ALLOWED, check_settings, checked_arguments, lora_rank, vllm_arguments
from mora_jobs.engines.base import SEED_SPAN, request_seed
from mora_jobs.engines.choice import Choice, choose, environment
from mora_jobs.engines.placement import place
from mora_jobs.errors import UserError
from mora_jobs.models import LocalModel

LOCAL = LocalModel("hf://o/m", Path("/models/m"), None, "sha256:0", None, "sha256:1", "{{ messages }}", "sha256:2")


def engine(**fields: Any) -> api.Engine:
    return api.Engine.model_validate(fields)


def test_vllm_on_a_cpu() -> None:
    assert vllm_arguments(engine(maxModelLen=512), LOCAL, None, gpus=False) == {
        "model": "/models/m",
        "tokenizer": "/models/m",
        "trust_remote_code": False,
        "dtype": "auto",
        "seed": 0,
        "max_model_len": 512,
        "enable_prefix_caching": True,
        "max_num_seqs": 128,
        "disable_log_stats": True,
        "quantization": None,
        "enforce_eager": True,
        "compilation_config": {"custom_ops": ["all"]},
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": 8192,
        "kv_cache_memory_bytes": 2**30,
    }


def test_vllm_on_eight_gpus() -> None:
    spec = engine(tensorParallelSize=4, pipelineParallelSize=2, gpuMemoryUtilization=0.8, dtype="BFloat16")
    found = vllm_arguments(spec, LOCAL, None, gpus=True)
    assert found["tensor_parallel_size"] == 4
    assert found["pipeline_parallel_size"] == 2
    assert found["distributed_executor_backend"] == "ray"
    assert found["gpu_memory_utilization"] == 0.8
    assert found["dtype"] == "bfloat16"
    assert found["max_num_seqs"] == 256
    assert "enforce_eager" not in found
    assert "distributed_executor_backend" not in vllm_arguments(engine(), LOCAL, None, gpus=True)


def test_extra_arguments_win_and_have_types() -> None:
    extra = {"max-num-seqs": "32", "enable_chunked_prefill": "True", "cpu_offload_gb": "1.5", "kv_cache_dtype": "fp8"}
    found = vllm_arguments(engine(extraArgs=extra), LOCAL, None, gpus=True)
    assert found["max_num_seqs"] == 32
    assert found["enable_chunked_prefill"] is True
    assert found["cpu_offload_gb"] == 1.5
    assert found["kv_cache_dtype"] == "fp8"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "worker_cls",
            "x.Y",
            r"engine.extraArgs.worker_cls: is not allowed; allowed are async_scheduling, .*max_num_seqs",
        ),
        ("trust_remote_code", "true", "is not allowed"),
        ("model", "/etc", "is not allowed"),
        ("max_num_seqs", "-3", "'-3' is not a whole number from 1 on"),
        ("enforce_eager", "yes", "'yes' is not true or false"),
        ("cpu_offload_gb", "much", "'much' is not a number"),
        ("optimization_level", "high", "is not"),
    ],
)
def test_extra_arguments_that_are_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        checked_arguments(engine(extraArgs={name: value}), EngineType.VLLM)


def test_vllm_arguments_are_left_out_where_auto_gave_way_to_transformers() -> None:
    extra = {"block_size": "16", "max_num_seqs": "8"}
    assert checked_arguments(engine(extraArgs=extra), EngineType.TRANSFORMERS) == {"max_num_seqs": 8}
    with pytest.raises(UserError, match="block_size: is not allowed; allowed are max_num_seqs"):
        checked_arguments(engine(type="Transformers", extraArgs=extra), EngineType.TRANSFORMERS)


@pytest.mark.parametrize(
    ("quantization", "quantized", "expected"),
    [
        ("None", None, None),
        ("None", "awq", None),
        ("AWQ", "awq", None),
        ("GPTQ", "gptq_marlin", None),
        ("FP8", None, "fp8"),
        ("BitsAndBytes", None, "bitsandbytes"),
    ],
)
def test_quantization(quantization: str, quantized: str | None, expected: str | None) -> None:
    found = vllm_arguments(engine(quantization=quantization), LOCAL, quantized, gpus=True)
    assert found["quantization"] == expected


@pytest.mark.parametrize("quantized", [None, "gptq"])
def test_a_model_that_is_not_quantised_as_asked_for(quantized: str | None) -> None:
    with pytest.raises(UserError, match="AWQ is asked for, but hf://o/m is not quantised so"):
        vllm_arguments(engine(quantization="AWQ"), LOCAL, quantized, gpus=True)


@pytest.mark.parametrize(("rank", "expected"), [(4, 8), (16, 16), (17, 32), (48, 64), (257, 320), (512, 512)])
def test_lora_ranks(rank: int, expected: int) -> None:
    assert lora_rank(rank) == expected


def test_adapters_enable_lora_at_their_rank() -> None:
    assert "enable_lora" not in vllm_arguments(engine(), LOCAL, None, gpus=False)
    found = vllm_arguments(engine(), LOCAL, None, gpus=False, rank=24)
    assert (found["enable_lora"], found["max_loras"], found["max_lora_rank"]) == (True, 1, 32)
    with pytest.raises(UserError, match="ranks add up to 513"):
        lora_rank(513)


@pytest.mark.parametrize(
    ("fields", "runs", "gpus", "message"),
    [
        ({"tensorParallelSize": 2}, EngineType.VLLM, False, "engine.tensorParallelSize: there are no GPUs"),
        ({"pipelineParallelSize": 2}, EngineType.VLLM, False, "engine.pipelineParallelSize: there are no GPUs"),
        ({"tensorParallelSize": 2}, EngineType.TRANSFORMERS, True, "engine.tensorParallelSize: .*one device"),
        ({"quantization": "FP8"}, EngineType.TRANSFORMERS, True, "engine.quantization: FP8 needs vLLM"),
    ],
)
def test_settings_that_cannot_be_followed(fields: dict[str, Any], runs: EngineType, gpus: bool, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_settings(engine(**fields), runs, gpus=gpus)


def test_every_allowed_argument_is_one_of_vllms() -> None:
    arg_utils = pytest.importorskip("vllm.engine.arg_utils", reason="vLLM is not installed")
    known = {field.name for field in dataclasses.fields(arg_utils.EngineArgs)}
    assert set(ALLOWED) <= known
    for gpus in (False, True):
        assert set(vllm_arguments(engine(), LOCAL, None, gpus=gpus)) <= known


@pytest.mark.parametrize(
    ("fields", "gpus", "cpus", "replicas", "bundles", "options", "threads"),
    [
        ({}, True, 64, 2, 0, {"num_cpus": 1, "num_gpus": 1}, 1),
        ({"tensorParallelSize": 4, "pipelineParallelSize": 2}, True, 64, 1, 8, {"num_cpus": 1, "num_gpus": 0}, 1),
        ({}, False, 2, 1, 0, {"num_cpus": 0.5, "scheduling_strategy": "SPREAD"}, 2),
        ({}, False, 2, 4, 0, {"num_cpus": 0.5, "scheduling_strategy": "SPREAD"}, 1),
        ({}, False, 32, 2, 0, {"num_cpus": 4.0, "scheduling_strategy": "SPREAD"}, 16),
    ],
)
def test_placement(
    fields: dict[str, Any], gpus: bool, cpus: float, replicas: int, bundles: int, options: dict[str, Any], threads: int
) -> None:
    found = place(engine(**fields), gpus, cpus, replicas)
    assert found.bundles == ({"CPU": 1.0, "GPU": 1.0},) * bundles
    assert found.options == options
    assert found.threads == threads


def test_environment_of_a_cpu_engine_keeps_threads_from_spinning() -> None:
    found = environment(Choice(EngineType.VLLM, gpus=False), threads=3)
    assert found["OMP_NUM_THREADS"] == "3"
    assert found["OMP_WAIT_POLICY"] == "PASSIVE"
    assert found["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert found["VLLM_NO_USAGE_STATS"] == "1"
    gpu = environment(Choice(EngineType.VLLM, gpus=True), threads=3)
    assert "OMP_NUM_THREADS" not in gpu
    assert "VLLM_ENABLE_V1_MULTIPROCESSING" not in gpu


def test_auto_gives_way_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mora_jobs.engines.choice.vllm_missing", lambda gpus: "vLLM is not installed")
    found = choose(EngineType.AUTO, gpus=False)
    assert found.type is EngineType.TRANSFORMERS
    assert found.reason == "vLLM is not installed; the transformers engine runs instead, which is slower"
    with pytest.raises(UserError, match=r"engine.type: VLLM cannot run here: vLLM is not installed; or use type"):
        choose(EngineType.VLLM, gpus=False)
    monkeypatch.setattr("mora_jobs.engines.choice.vllm_missing", lambda gpus: "")
    assert choose(EngineType.AUTO, gpus=True) == Choice(EngineType.VLLM, gpus=True)
    assert choose(EngineType.TRANSFORMERS, gpus=True).type is EngineType.TRANSFORMERS


def test_seeds_of_neighbours_are_far_apart() -> None:
    seeds = sorted(request_seed(17, f"prompt-{i}") for i in range(2000))
    assert all(0 <= seed < 2**31 - SEED_SPAN for seed in seeds)
    close = sum(b - a < 16 for a, b in itertools.pairwise(seeds))
    assert close <= 2  # 2000² / 2 pairs × 16 / 2³¹ = 0.015 expected
    assert request_seed(17, "a") == 312678352
    assert request_seed(17, "a") != request_seed(18, "a")
    assert request_seed(17, "\ud800") >= 0  # a lone surrogate, as JSON may hold
