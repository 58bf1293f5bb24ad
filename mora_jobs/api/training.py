"""How an AlignmentJob trains: pairs, objectives, method, front, trainer."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from .base import JobRef, Model, Rule
from .inputs import Engine, Sampling
from .methods import PairRule
from .preferences import LabelledPairs, PairColumns
from .texts import Dimension, Name, Probability


class Regime(StrEnum):
    SEQUENTIAL = "Sequential"
    SIMULTANEOUS = "Simultaneous"


class FrontStrategy(StrEnum):
    SINGLE = "Single"
    WEIGHT_GRID = "WeightGrid"
    REWARDED_SOUP = "RewardedSoup"


class Strategy(StrEnum):
    DDP = "DDP"
    FSDP = "FSDP"


class Precision(StrEnum):
    BF16 = "BF16"
    FP32 = "FP32"


class Save(StrEnum):
    ADAPTER = "Adapter"
    MERGED = "Merged"
    FULL = "Full"


class Placement(StrEnum):
    COLOCATED = "Colocated"
    SEPARATE = "Separate"


class Columns(PairColumns):
    """Names of the columns of a preference data set."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.chosenModel) == has(self.rejectedModel)",
            "give both chosenModel and rejectedModel, or neither",
            "rejectedModel",
        ),
    )
    objective: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """Objective that the pair is about; all of them when absent."""
    chosen_model: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """Model that wrote the preferred response; an empty cell is not known. A warning follows where the two differ."""
    rejected_model: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """Model that wrote the other response."""


class Preferences(LabelledPairs):
    """Given pairs, for rule Dataset."""

    columns: Columns = Columns()
    """Names of the columns."""


class AlignmentData(Model):
    """What is aligned on: any of these, joined."""

    rewrite_job_ref: JobRef | None = None
    """The prompts of a RewriteJob with their rollouts; rewritten prompts replace their originals."""
    rollout_job_ref: JobRef | None = None
    """The prompts and rollouts of a RolloutJob."""
    preferences: Preferences | None = None
    """Given pairs."""


class Pairs(Model):
    """How rollouts become preference pairs. u is the calibrated score."""

    rule: PairRule = PairRule.DOMINANCE
    """Dominance: the winner is at least as good on every objective. StageGuard: largest gap on the stage's objective, no other falls by more than guardTolerance (Sequential). PerObjective: a sign −1|0|+1 for each objective. Aggregate: ordered by the rollout job's aggregation. Pool: all candidates with their scores, no pairs. Dataset: the given pairs."""
    min_gap: Annotated[float, Field(ge=0, le=16)] = 0.3
    """Least gap: summed over objectives for Dominance and Aggregate × objectives, on the stage's objective for StageGuard, on at least one objective for PerObjective (a smaller gap has sign 0)."""
    guard_tolerance: Probability = 0.05
    """Largest fall of another objective under StageGuard."""
    keep_original_share: Probability = 0.3
    """Share of rewritten prompts whose original is kept beside the rewrite, so that raw prompts stay in training."""
    max_pairs_per_prompt: Annotated[int, Field(ge=1, le=1024)] = 3
    """Pairs of one prompt, without a rollout in common."""


class Objective(Model):
    """A reward that is aligned on."""

    name: Dimension
    """Name of a reward of the rollout job."""
    weight: Probability | None = None
    """Weight; equal weights when none is given. All weights sum to 1."""
    threshold: Probability | None = None
    """Value that the objective should reach; shown in the report. MOPO's bounds are win rates, and stand in its block."""
    primary: bool = False
    """The objective that methods with constraints maximise; at most one."""


class NamedWeights(Model):
    """A preference vector."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.weights.map(k, self.weights[k]).sum() > 0.999 && self.weights.map(k, self.weights[k]).sum() < 1.001",
            "the weights must sum to 1",
            "weights",
        ),
    )
    name: Name
    """Name of the point."""
    weights: Annotated[
        dict[Annotated[str, StringConstraints(max_length=63)], Probability], Field(min_length=1, max_length=8)
    ]
    """Weight of each objective, summing to 1."""


class Front(Model):
    """How the Pareto front is traced."""

    strategy: FrontStrategy = FrontStrategy.SINGLE
    """Single: one policy with the objectives' weights. WeightGrid: one training per weight vector. RewardedSoup (arXiv 2306.04488): one training per objective, then interpolated weight differences."""
    points: Annotated[int, Field(ge=1, le=64)] = 5
    """Points of the front, on an even grid over the weights; vectors replaces them."""
    vectors: Annotated[list[NamedWeights], Field(max_length=64, json_schema_extra={"x-list-key": "name"})] = []
    """Weight vectors of one's own."""
    parallel: Annotated[int, Field(ge=1, le=64)] = 1
    """Trainings at the same time."""


class Trainer(Model):
    """Resources and optimiser."""

    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Nodes."""
    workers_per_node: Annotated[int, Field(ge=1, le=64)] = 1
    """Training processes on each node, one GPU each."""
    strategy: Strategy = Strategy.DDP
    """DDP, or FSDP for models that do not fit one GPU."""
    precision: Precision = Precision.BF16
    """BF16 autocast over FP32 master weights of the trained parameters, or FP32."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1.0e-4
    """Peak learning rate."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    """Passes over the pairs."""
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Optimiser steps of each training; wins over epochs."""
    per_device_batch_size: Annotated[int, Field(ge=1, le=4096)] = 4
    """Pairs (rule Pool and online methods: single responses) in one forward pass of one worker."""
    gradient_accumulation: Annotated[int, Field(ge=1, le=4096)] = 1
    """Forward passes for one optimiser step."""
    max_length: Annotated[int, Field(ge=16, le=1_000_000)] = 512
    """Longest prompt plus response, in tokens."""
    warmup_ratio: Probability = 0.1
    """Share of the steps with a rising learning rate."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 42
    """Seed of the order of pairs and of new weights."""
    max_failures: Annotated[int, Field(ge=0, le=1000)] = 3
    """Restarts of the workers inside one attempt."""

    @property
    def examples_per_step(self) -> int:
        """Pairs (or responses) in one optimiser step, over all workers."""
        return self.per_device_batch_size * self.gradient_accumulation * self.nodes * self.workers_per_node


class LoRA(Model):
    """Low-rank adapters (arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank r."""
    alpha: Annotated[float, Field(gt=0, le=4096)] = 16
    """Scale: ΔW = alpha / rank · BA."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout in front of A."""
    target_modules: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=128)]], Field(min_length=1, max_length=64)
    ] = ["all-linear"]
    """Names of the adapted modules."""


class Generation(Model):
    """Engine and sampling of evaluation and of online methods; inherited from the rollout job where there is one."""

    engine: Engine | None = None
    """Engine."""
    sampling: Sampling | None = None
    """Sampling."""
    replicas: Annotated[int, Field(ge=1, le=1024)] = 1
    """Engine replicas."""
    placement: Placement = Placement.COLOCATED
    """Colocated uses the trainer's GPUs between trainings, Separate its own. Online methods have engines beside the trainer in any case."""


class CheckpointPolicy(Model):
    """How often training state is saved."""

    interval_steps: Annotated[int, Field(ge=1, le=10_000_000)] = 50
    """Steps between checkpoints."""
    keep_last: Annotated[int, Field(ge=1, le=100)] = 2
    """Checkpoints that are kept."""
