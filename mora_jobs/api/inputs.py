"""What goes into a job: models, prompts, sampling and the engine that generates."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from .base import JobRef, Model, Rule, exactly_one_of
from .texts import HTTP, InputURI, LongText, Name, Seconds, ShortText


class TrustRemoteCode(StrEnum):
    DENY = "Deny"
    ALLOW = "Allow"


class PromptFormat(StrEnum):
    JSONL = "JSONL"
    PARQUET = "Parquet"
    CSV = "CSV"


class EngineType(StrEnum):
    AUTO = "Auto"
    VLLM = "VLLM"
    TRANSFORMERS = "Transformers"


class DType(StrEnum):
    AUTO = "Auto"
    BFLOAT16 = "BFloat16"
    FLOAT16 = "Float16"
    FLOAT32 = "Float32"


class Quantization(StrEnum):
    NONE = "None"
    AWQ = "AWQ"
    GPTQ = "GPTQ"
    FP8 = "FP8"
    BITSANDBYTES = "BitsAndBytes"


class Adapter(Model):
    """A LoRA adapter that is applied to the model."""

    name: Name
    """Name of the adapter, unique within the model."""
    uri: InputURI
    """Folder of the adapter (PEFT layout)."""


class ModelRef(Model):
    """A language model (or classifier) by URI: a hub repository, a folder, or one GGUF file."""

    uri: InputURI
    """hf://owner/name, s3://…, gs://…, az://…, pvc://claim/path or file://path: a folder in the transformers layout or one .gguf file. A file:// path without a leading slash is relative to the manifest's folder."""
    revision: ShortText | None = None
    """Commit, tag or branch of a hub repository. Pin a commit: `main` moves."""
    trust_remote_code: TrustRemoteCode = TrustRemoteCode.DENY
    """Allow runs Python code that the model's repository brings. Deny refuses such models."""
    adapters: Annotated[list[Adapter], Field(max_length=8, json_schema_extra={"x-list-key": "name"})] = []
    """LoRA adapters applied in this order."""
    chat_template: Annotated[str, StringConstraints(max_length=16384)] | None = None
    """A Jinja chat template that replaces the tokenizer's own."""


class Prompts(Model):
    """Where the prompts come from: a file, or the prompts of another job."""

    cel: ClassVar[tuple[Rule, ...]] = (exactly_one_of("uri", "rolloutJobRef", "rewriteJobRef"),)
    uri: InputURI | None = None
    """A JSONL, Parquet or CSV file, a folder of Parquet files, or hf://datasets/owner/name."""
    rollout_job_ref: JobRef | None = None
    """The prompts of a RolloutJob."""
    rewrite_job_ref: JobRef | None = None
    """The prompts of a RewriteJob: rewritten where a rewrite was accepted, the original elsewhere."""
    format: PromptFormat = PromptFormat.JSONL
    """Format of the file."""
    prompt_field: Annotated[str, StringConstraints(min_length=1, max_length=128)] = "prompt"
    """Field with the prompt: a text, or a list of chat messages {role, content} that ends with the user's."""
    id_field: Annotated[str, StringConstraints(min_length=1, max_length=128)] = "id"
    """Field with the id of the prompt, unique in the file. Seeds and resuming depend on it."""
    split: ShortText | None = None
    """Split of a hub data set."""
    limit: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Use only the first prompts."""
    system_prompt: LongText | None = None
    """A system message put in front of every prompt."""


class Sampling(Model):
    """How rollouts are drawn."""

    samples_per_prompt: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rollouts for each prompt (N)."""
    temperature: Annotated[float, Field(ge=0, le=5)] = 1.0
    """Sampling temperature; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling. On CPU, values below 1 cost more than half of the speed; topK is free."""
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    max_tokens: Annotated[int, Field(ge=1, le=131_072)] = 512
    """Longest rollout, in tokens."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 17
    """Seed of the job. Each prompt draws from a stream of its own, spaced by a hash of its id."""
    stop: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=128)]], Field(max_length=16)] = []
    """Texts that end a rollout."""


class Engine(Model):
    """The inference engine that generates."""

    type: EngineType = EngineType.AUTO
    """VLLM, Transformers (machines without vLLM), or Auto: vLLM where it is installed, else Transformers."""
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] = 1
    """GPUs that share each layer."""
    pipeline_parallel_size: Annotated[int, Field(ge=1, le=64)] = 1
    """Groups of layers on different GPUs or nodes."""
    max_model_len: Annotated[int, Field(ge=16, le=10_000_000)] | None = None
    """Longest prompt plus rollout, in tokens; the model's own limit when absent."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of the GPU's memory that the engine may take."""
    dtype: DType = DType.AUTO
    """Number format of the weights."""
    quantization: Quantization = Quantization.NONE
    """Quantisation of the weights."""
    enable_prefix_caching: bool = True
    """Reuse the keys and values of shared prompt beginnings."""
    extra_args: Annotated[
        dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=256)]],
        Field(max_length=32),
    ] = {}
    """Further engine arguments from an allow-list, as texts (e.g. max_num_seqs: "128")."""


class OpenAICompatible(Model):
    """A server that speaks the OpenAI chat completions API."""

    base_url: Annotated[
        str,
        Field(alias="baseURL"),
        StringConstraints(pattern=HTTP, max_length=1024),
    ]
    """Address up to and without /chat/completions."""
    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """Name of the model on that server."""
    credentials_ref: Name | None = None
    """Name of an entry of spec.credentials that holds the API key."""
    timeout_seconds: Seconds = 120
    """Time limit of one request."""
    max_concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    """Requests in flight."""
