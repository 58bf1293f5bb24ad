"""RewriteJob: rewrite single-reward prompts so that they carry several intents, and prove it on fresh rollouts."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from .base import API_VERSION, JobRef, KeyRef, Model, Rule, credential_known, exactly_one_of
from .cluster import CommonSpec, Output
from .inputs import Engine, ModelRef, OpenAICompatible, Sampling
from .metadata import ObjectMeta
from .rewards import JudgeReward
from .status import CommonStatus, Count, Number, PromptCounts
from .texts import Dimension, Name, Probability


class Control(StrEnum):
    """Ablations: each replaces the rewriting by something that should not help."""

    NONE = "None"
    PARAPHRASE = "Paraphrase"
    RANDOM = "Random"
    DROP_ONLY = "DropOnly"
    SELF_REWRITE = "SelfRewrite"


class RewriteSource(Model):
    """Where the prompts, the policy, the rewards, the calibration and the isolation come from."""

    rollout_job_ref: JobRef
    """A RolloutJob."""


class RewriteTemplate(Model):
    """A sentence pattern that adds what a prompt lacks."""

    name: Name
    """Name of the template, unique."""
    dimension: Dimension | None = None
    """Use it when this dimension is missing; always when absent."""
    template: Annotated[str, StringConstraints(min_length=1, max_length=8192)]
    """Sandboxed Jinja with {{ prompt }}, {{ dimension }} (the one it already earns) and {{ missing }} (the others)."""


class Rewriter(Model):
    """Who rewrites."""

    cel: ClassVar[tuple[Rule, ...]] = (exactly_one_of("model", "openAICompatible", "templates"),)
    model: ModelRef | None = None
    """A language model, run by `engine`."""
    open_ai_compatible: Annotated[OpenAICompatible | None, Field(alias="openAICompatible")] = None
    """A language model behind a server."""
    templates: Annotated[
        list[RewriteTemplate] | None, Field(min_length=1, max_length=32, json_schema_extra={"x-list-key": "name"})
    ] = None
    """Fixed sentence patterns, without a model."""
    engine: Engine = Engine()
    """Engine of the rewriter model."""
    sampling: Sampling = Sampling(temperature=0.8, max_tokens=512)
    """How rewrites are drawn; samplesPerPrompt is ignored (candidatesPerPrompt counts)."""


class Intent(Model):
    """What it means that a prompt carries a dimension."""

    dimension: Dimension
    """Name of a reward."""
    definition: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """One line, read by the rewriter: e.g. `checkable facts, uncertainty or a common misconception arise`."""


class TemplateRef(Model):
    """The rewriter's instruction, from a ConfigMap."""

    config_map_ref: KeyRef
    """ConfigMap and key. `mora run` reads <name>/<key> beside the manifest."""


class Similarity(Model):
    """Closeness of a rewrite to its original by sentence embeddings."""

    cel: ClassVar[tuple[Rule, ...]] = (Rule("self.min <= self.max", "min must not exceed max", "min"),)
    model: ModelRef
    """A sentence-embedding model (mean pooling)."""
    min: Annotated[float, Field(ge=-1, le=1)] = 0.6
    """Lowest cosine: below it the subject is lost."""
    max: Annotated[float, Field(ge=-1, le=1)] = 0.98
    """Highest cosine: above it nothing was changed."""


class Validation(Model):
    """What an accepted rewrite has to prove, in order of cost."""

    similarity: Similarity | None = None
    """Closeness to the original."""
    judge: JudgeReward | None = None
    """A judge that is asked whether an answer to the rewrite serves the need behind the original; the mean level must reach the middle of the scale."""
    samples_per_prompt: Annotated[int, Field(ge=1, le=1024)] = 16
    """Fresh rollouts for each seed."""
    min_balance_gain: Annotated[float, Field(ge=-1, le=1)] = 0.05
    """Least rise of balance(N)."""
    min_hypervolume_gain: Annotated[float, Field(ge=-1, le=1)] = 0.05
    """Least rise of the hypervolume of the N score vectors, unless the number of active dimensions grew."""
    max_reach_loss: Probability = 0.03
    """Largest fall of reach(N) on the dimension that the prompt already earned."""


class RewriteSpec(CommonSpec):
    """Rewrite single-reward prompts; keep a rewrite only if fresh rollouts prove that it earns more."""

    cel: ClassVar[tuple[Rule, ...]] = (
        *CommonSpec.cel,
        Rule(
            "self.control != 'SelfRewrite' || !has(self.rewriter.templates)",
            "control SelfRewrite needs a model: the policy rewrites itself, templates are not used",
            "control",
        ),
        credential_known("rewriter.openAICompatible"),
        credential_known("validation.judge.openAICompatible"),
    )
    source: RewriteSource
    """Where the prompts come from."""
    rewriter: Rewriter
    """Who rewrites."""
    candidates_per_prompt: Annotated[int, Field(ge=1, le=64)] = 4
    """Rewrites tried for each prompt."""
    intents: Annotated[list[Intent], Field(max_length=16, json_schema_extra={"x-list-key": "dimension"})] = []
    """Definitions of the dimensions."""
    template: TemplateRef | None = None
    """Instruction of the rewriter; a built-in one when absent."""
    max_length_ratio: Annotated[float, Field(ge=1, le=20)] = 2.0
    """Longest rewrite as a multiple of the original's words."""
    length_floor_words: Annotated[int, Field(ge=0, le=1000)] = 16
    """Words that are always allowed on top: accepted up to max(ratio × words, words + floor)."""
    validation: Validation = Validation()
    """What a rewrite has to prove."""
    control: Control = Control.NONE
    """An ablation instead of the rewriting: Paraphrase, Random prompts, DropOnly or SelfRewrite."""
    output: Output
    """Where the artifacts go."""


class RewriteCounts(Model):
    """What was rewritten."""

    prompts: PromptCounts = PromptCounts()
    """Single-reward prompts."""
    candidates: Count = 0
    """Rewrites tried."""
    accepted: Count = 0
    """Prompts whose rewrite was accepted."""
    rejected: Annotated[dict[str, Count], Field(max_length=32)] = {}
    """Candidates rejected, by reason."""


class Change(Model):
    """A figure before and after, with a 95 % bootstrap interval of the difference over prompts."""

    before: Number
    """Original prompts, fresh seed."""
    after: Number
    """Rewritten prompts, same fresh seed."""
    ci: Annotated[list[Number], Field(max_length=2)] = []
    """Lower and upper end of the interval of after − before."""


class Gain(Model):
    """What rewriting gained on a seed that was not used for choosing."""

    prompts: Count = 0
    """Prompts compared."""
    balance: Change
    """balance(N)."""
    hypervolume: Change
    """Hypervolume of the score vectors of a prompt against the origin."""
    joint: Change
    """joint(N)."""
    reach: Annotated[dict[str, Change], Field(max_length=16)] = {}
    """reach(N) by dimension."""


class RewriteResult(Model):
    """What the driver of a RewriteJob reports."""

    rewrites: RewriteCounts | None = None
    """What was rewritten."""
    gain: Gain | None = None
    """What it gained."""


class RewriteStatus(CommonStatus, RewriteResult):
    """Status of a RewriteJob."""


class RewriteJob(Model):
    """Rewrites single-reward prompts so that they carry several intents."""

    api_version: Literal["mora.dev/v1alpha1"] = API_VERSION
    """mora.dev/v1alpha1"""
    kind: Literal["RewriteJob"] = "RewriteJob"
    """RewriteJob"""
    metadata: ObjectMeta
    """Standard metadata; the name has at most 40 characters."""
    spec: RewriteSpec
    """Rewrite single-reward prompts; keep a rewrite only if fresh rollouts prove that it earns more."""
    status: RewriteStatus | None = None
    """What was seen of the job."""
