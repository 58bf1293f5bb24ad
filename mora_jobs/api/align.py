"""AlignmentJob: multi-node, multi-objective alignment with Pareto metrics."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from .base import API_VERSION, Model, Rule
from .cluster import CommonSpec, Output
from .inputs import ModelRef, Prompts
from .metadata import ObjectMeta
from .methods import Method, acceptance_rules, objectives_known
from .online import ONLINE, online_rules
from .rewards import Reward, credentials_known
from .status import CommonStatus, Count, Number
from .texts import Dimension, OutputURI
from .training import (
    AlignmentData,
    CheckpointPolicy,
    Front,
    Generation,
    LoRA,
    Objective,
    Pairs,
    Regime,
    Save,
    Trainer,
)


class Evaluation(Model):
    """Measurement on prompts that were not trained on, before and after."""

    prompts: Prompts
    """Held-out prompts."""
    samples_per_prompt: Annotated[int, Field(ge=1, le=1024)] = 4
    """Rollouts for each prompt."""
    rewards: Annotated[list[Reward], Field(max_length=16, json_schema_extra={"x-list-key": "name"})] = []
    """Rewards besides those of the rollout job; one that was not used for selection is advised."""
    every_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Evaluate also during training, every so many steps."""


class AlignmentOutput(Output):
    """Where the trained models go, and in which form."""

    save: Save = Save.ADAPTER
    """Adapter writes the LoRA adapter, Merged the model with the adapter merged, Full the fully trained model."""


class AlignmentSpec(CommonSpec):
    """Align a model on several objectives, and measure its Pareto front."""

    cel: ClassVar[tuple[Rule, ...]] = (
        *CommonSpec.cel,
        Rule(
            "self.objectives.filter(o, o.primary).size() <= 1",
            "at most one objective may be primary",
            "objectives",
        ),
        Rule(
            "self.objectives.all(o, has(o.weight)) || !self.objectives.exists(o, has(o.weight))",
            "give a weight to every objective or to none",
            "objectives",
        ),
        Rule(
            "!self.objectives.all(o, has(o.weight)) || (self.objectives.map(o, o.weight).sum() > 0.999 && "
            "self.objectives.map(o, o.weight).sum() < 1.001)",
            "the weights of the objectives must sum to 1",
            "objectives",
        ),
        Rule(
            "self.regime == 'Sequential' || self.order.size() == 0",
            "order goes with regime Sequential only",
            "order",
        ),
        Rule(
            "self.order.size() == 0 || (self.order.size() == self.objectives.size() && "
            "self.objectives.all(o, self.order.exists_one(n, n == o.name)))",
            "order must be a permutation of the objectives' names",
            "order",
        ),
        Rule(
            "self.pairs.rule != 'StageGuard' || self.regime == 'Sequential'",
            "pair rule StageGuard goes with regime Sequential only",
            "pairs.rule",
        ),
        Rule(
            "self.pairs.rule != 'Dataset' || has(self.data.preferences)",
            "pair rule Dataset needs data.preferences",
            "data.preferences",
        ),
        Rule(
            "self.pairs.rule == 'Dataset' || has(self.data.rewriteJobRef) || has(self.data.rolloutJobRef)",
            "give rewriteJobRef or rolloutJobRef; only pair rule Dataset does without",
            "data",
        ),
        *acceptance_rules(),
        *objectives_known(),
        *online_rules(),
        Rule(
            f"self.front.strategy == 'Single' || self.method.name in {list(ONLINE)} || "
            "self.pairs.rule in ['PerObjective', 'Pool'] || (self.pairs.rule == 'Dataset' && "
            "has(self.data.preferences) && has(self.data.preferences.columns.objective))",
            "with these pairs every point of the front would be the same policy; use pair rule PerObjective, or Dataset "
            "with columns.objective",
            "front.strategy",
        ),
        Rule(
            "self.front.strategy == 'Single' || self.objectives.size() >= 2",
            "a front with several points needs at least two objectives",
            "front.strategy",
        ),
        Rule(
            "self.front.strategy == 'Single' || self.regime == 'Simultaneous'",
            "a front with several points needs regime Simultaneous",
            "front.strategy",
        ),
        Rule(
            "self.front.vectors.all(v, v.weights.all(k, self.objectives.exists(o, o.name == k)))",
            "front.vectors must use the objectives' names",
            "front.vectors",
        ),
        Rule(
            "self.front.strategy != 'Single' || self.front.vectors.size() == 0",
            "vectors need a strategy that trains several points; strategy is Single",
            "front.vectors",
        ),
        Rule(
            "has(self.data.rewriteJobRef) || has(self.data.rolloutJobRef) || !has(self.data.preferences) || "
            "has(self.evaluation)",
            "evaluation is required where data is preferences only",
            "evaluation",
        ),
        Rule(
            "self.output.save != 'Full' || !has(self.lora)",
            "output.save Full goes without lora; use Adapter or Merged",
            "output.save",
        ),
        Rule(
            "has(self.lora) || self.output.save == 'Full'",
            "output.save Adapter or Merged needs lora; use Full to train all weights",
            "output.save",
        ),
        *credentials_known("evaluation.rewards", "has(self.evaluation)"),
    )
    model: ModelRef
    """The model that is aligned."""
    reference_model: ModelRef | None = None
    """The reference model; the model itself when absent."""
    data: AlignmentData
    """What is aligned on."""
    pairs: Pairs = Pairs()
    """How rollouts become pairs."""
    objectives: Annotated[list[Objective], Field(min_length=1, max_length=8, json_schema_extra={"x-list-key": "name"})]
    """The objectives."""
    regime: Regime = Regime.SIMULTANEOUS
    """Sequential trains one objective after the other, each stage from the merged previous one; Simultaneous trains all at once."""
    order: Annotated[list[Dimension], Field(max_length=8)] = []
    """Order of the stages; the order of the objectives when empty."""
    method: Method = Method()
    """The method."""
    front: Front = Front()
    """How the front is traced."""
    trainer: Trainer = Trainer()
    """Resources and optimiser."""
    lora: LoRA | None = None
    """Train low-rank adapters instead of all weights."""
    generation: Generation = Generation()
    """Engine and sampling of evaluation and of online methods."""
    online_prompts: Prompts | None = None
    """Prompts from which methods that sample while they train (GRPO, REINFORCEPlusPlus) draw. Those that are measured on are left out."""
    evaluation: Evaluation | None = None
    """Measurement before and after."""
    checkpoint: CheckpointPolicy = CheckpointPolicy()
    """Checkpoints."""
    output: AlignmentOutput
    """Where the models go."""

    @property
    def primary(self) -> str:
        """The objective that is marked as primary, or ""."""
        return next((objective.name for objective in self.objectives if objective.primary), "")


class TrainingStatus(Model):
    """The running training."""

    point: Annotated[str, StringConstraints(max_length=63)] | None = None
    """Point of the front or stage that is trained."""
    epoch: Number | None = None
    """Passes over the pairs."""
    step: Count = 0
    """Optimiser steps done."""
    total_steps: Count = 0
    """Optimiser steps in all."""
    loss: Number | None = None
    """Loss of the last logged step."""
    learning_rate: Number | None = None
    """Learning rate."""
    samples_per_second: Number | None = None
    """Pairs per second over all workers; of online methods responses."""


class StageStatus(Model):
    """One row of the forgetting matrix."""

    objective: Annotated[str, StringConstraints(max_length=63)]
    """Objective of the stage."""
    before: Annotated[dict[str, Number], Field(max_length=16)] = {}
    """Every objective before the stage."""
    after: Annotated[dict[str, Number], Field(max_length=16)] = {}
    """Every objective after the stage."""


class ObjectiveStatus(Model):
    """What alignment gained on one objective, on held-out prompts, mean calibrated score in [0, 1]."""

    name: Annotated[str, StringConstraints(max_length=63)]
    """Name of the reward."""
    before: Number
    """The model before."""
    after: Number
    """The knee of the front, or the single policy."""
    points: Number
    """after − before, in points of 100."""
    relative_percent: Number | None = None
    """100 · (after − before) / before."""
    ci: Annotated[list[Number], Field(max_length=2)] = []
    """95 % bootstrap interval of the points, over prompts."""


class FrontPoint(Model):
    """A policy on the front."""

    name: Annotated[str, StringConstraints(max_length=63)]
    """Name of the point."""
    weights: Annotated[dict[str, Number], Field(max_length=8)] = {}
    """Weights of the objectives."""
    values: Annotated[dict[str, Number], Field(max_length=16)]
    """Mean calibrated score of each objective."""
    checkpoint_uri: Annotated[OutputURI | None, Field(alias="checkpointURI")] = None
    """The model."""


class DigestedURI(Model):
    """A file by content."""

    uri: Annotated[str, StringConstraints(max_length=1024)]
    """Where it lies."""
    digest: Annotated[str, StringConstraints(max_length=128)]
    """sha256:…"""


class ParetoStatus(Model):
    """The Pareto front of the trained policies (and the untrained one), maximising."""

    objectives: Annotated[list[Annotated[str, StringConstraints(max_length=63)]], Field(max_length=8)]
    """Objectives in order."""
    reference_point: Annotated[list[Number], Field(max_length=8)]
    """Frozen reference point of the hypervolume."""
    hypervolume: Number
    """Hypervolume of the front."""
    front: Annotated[list[FrontPoint], Field(max_length=64, json_schema_extra={"x-list-key": "name"})]
    """Non-dominated policies, sorted by the first objective."""
    knee: Annotated[str, StringConstraints(max_length=63)] | None = None
    """Name of the knee point."""
    artifact: DigestedURI | None = None
    """All points with their per-prompt values."""


class AlignmentResult(Model):
    """What the driver of an AlignmentJob reports."""

    training: TrainingStatus | None = None
    """The running training."""
    stages: Annotated[list[StageStatus], Field(max_length=8)] = []
    """The forgetting matrix (Sequential)."""
    objectives: Annotated[list[ObjectiveStatus], Field(max_length=32, json_schema_extra={"x-list-key": "name"})] = []
    """Gains on held-out prompts."""
    pareto: ParetoStatus | None = None
    """The front."""


class AlignmentStatus(CommonStatus, AlignmentResult):
    """Status of an AlignmentJob."""


class AlignmentJob(Model):
    """Multi-objective alignment with Pareto metrics."""

    api_version: Literal["mora.dev/v1alpha1"] = API_VERSION
    """mora.dev/v1alpha1"""
    kind: Literal["AlignmentJob"] = "AlignmentJob"
    """AlignmentJob"""
    metadata: ObjectMeta
    """Standard metadata; the name has at most 40 characters."""
    spec: AlignmentSpec
    """Align a model on several objectives, and measure its Pareto front."""
    status: AlignmentStatus | None = None
    """What was seen of the job."""
