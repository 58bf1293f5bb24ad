"""RolloutJob: scaled rollouts, reward scoring, isolation of single-reward prompts."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints, model_validator

from .base import API_VERSION, Model, Rule
from .cluster import CommonSpec, Output
from .inputs import Engine, ModelRef, Prompts, Sampling
from .metadata import ObjectMeta
from .rewards import Aggregation, Rewards, credentials_known
from .status import CommonStatus, Count, Number, PromptCounts
from .texts import Probability


class Criterion(StrEnum):
    LEVEL = "Level"
    SPREAD = "Spread"
    BOTH = "Both"


class Autoscaling(Model):
    """A number of replicas that follows the load."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("self.minReplicas <= self.maxReplicas", "minReplicas must not exceed maxReplicas", "minReplicas"),
    )
    min_replicas: Annotated[int, Field(ge=0, le=1024)] = 1
    """Fewest replicas."""
    max_replicas: Annotated[int, Field(ge=1, le=1024)]
    """Most replicas."""


class Isolation(Model):
    """When a prompt counts as single-reward. u is the calibrated score in [0, 1]; N the samples per prompt."""

    criterion: Criterion = Criterion.BOTH
    """A dimension is active by Level (reach(N) ≥ reachThreshold), Spread (q90 − q10 ≥ spreadThreshold) or Both."""
    reach_threshold: Probability = 0.7
    """Best-of-N that a dimension must reach to be active."""
    spread_threshold: Probability = 0.15
    """Spread q90 − q10 within the prompt that a dimension must have to be active."""
    joint_level: Probability = 0.6
    """Level that all dimensions must have at once in one rollout to count as joint."""
    joint_threshold: Probability = 0.1
    """joint(N) below which no rollout serves all dimensions."""
    plateau_tolerance: Probability = 0.06
    """A gain balance(N) − balance(N/2) below this counts as a plateau: more sampling does not help."""


class RolloutSpec(CommonSpec):
    """Sample many rollouts per prompt, score them on every reward, and find the prompts that can earn only one reward."""

    cel: ClassVar[tuple[Rule, ...]] = (
        *CommonSpec.cel,
        Rule("!(has(self.replicas) && has(self.autoscaling))", "give replicas or autoscaling, not both", "replicas"),
        Rule(
            "self.aggregation.method != 'Fixed' || self.aggregation.weights.size() == 0 || (self.aggregation.weights.size() == self.rewards.size() && "
            "self.rewards.all(r, self.aggregation.weights.exists(w, w.name == r.name)))",
            "aggregation.weights must name each reward once",
            "aggregation.weights",
        ),
        Rule(
            "!has(self.aggregation.reward) || self.rewards.exists(r, r.name == self.aggregation.reward)",
            "aggregation.reward is not the name of a reward",
            "aggregation.reward",
        ),
        *credentials_known("rewards"),
    )
    model: ModelRef
    """The policy that is sampled."""
    prompts: Prompts
    """The prompts."""
    sampling: Sampling = Sampling()
    """How rollouts are drawn."""
    engine: Engine = Engine()
    """The inference engine."""
    replicas: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Engine replicas; GPUs = replicas × tensorParallelSize × pipelineParallelSize. Neither replicas nor autoscaling means 1."""
    autoscaling: Autoscaling | None = None
    """Replicas that follow the load."""
    rewards: Rewards
    """The reward dimensions."""
    aggregation: Aggregation = Aggregation()
    """How dimensions become one score."""
    isolation: Isolation = Isolation()
    """When a prompt counts as single-reward."""
    output: Output
    """Where the artifacts go."""

    @property
    def most_replicas(self) -> int:
        """Engine replicas, or as many as autoscaling may make of them."""
        return self.replicas or (self.autoscaling.max_replicas if self.autoscaling else 1)


class TokenCounts(Model):
    """Tokens processed."""

    prompt: Count = 0
    """Prompt tokens."""
    generated: Count = 0
    """Generated tokens."""


class RolloutCounts(Model):
    """What was sampled."""

    prompts: PromptCounts = PromptCounts()
    """Prompts."""
    samples: Count = 0
    """Rollouts."""
    tokens: TokenCounts = TokenCounts()
    """Tokens."""


class RewardStatus(Model):
    """Distribution of one reward over all rollouts."""

    name: Annotated[str, StringConstraints(max_length=63)]
    """Name of the dimension."""
    mean: Number
    """Mean of the raw reward."""
    stddev: Number
    """Standard deviation of the raw reward."""
    p10: Number
    """10th percentile of the raw reward."""
    p90: Number
    """90th percentile of the raw reward."""
    missing: Count = 0
    """Rollouts without a score."""
    entropy: Number | None = None
    """Entropy in nats over the levels or bins; only for aggregations that look at it: ENCORE, and Single without a name."""
    weight: Number
    """Weight in the overall score; the mean over prompts where each has its own (RuleAdapter)."""


class IsolationStatus(Model):
    """How many prompts are of which class."""

    single_reward: Annotated[dict[str, Count], Field(max_length=16)] = {}
    """Single-reward prompts by their only active dimension."""
    single_reward_total: Count = 0
    """Single-reward prompts over all dimensions; the sum when absent."""
    multi_reward: Count = 0
    """At least two dimensions, earned together."""
    dead: Count = 0
    """No active dimension."""
    mixed: Count = 0
    """Everything else."""

    @model_validator(mode="before")
    @classmethod
    def _sum_single_reward(cls, value: Any) -> Any:
        """A printer column cannot add a map's values up, so the sum is a member of its own."""
        if not isinstance(value, Mapping) or "singleRewardTotal" in value or "single_reward_total" in value:
            return value
        counts = value.get("singleReward", value.get("single_reward", {}))
        total = sum(counts.values()) if isinstance(counts, Mapping) else 0
        return {**value, "singleRewardTotal": total}


class CurvePoint(Model):
    """Mean over prompts of what the best of k rollouts attains."""

    k: Annotated[int, Field(ge=1)]
    """Rollouts per prompt."""
    reach: Annotated[dict[str, Number], Field(max_length=16)]
    """reach(k): expected best score of each dimension."""
    joint: Number
    """joint(k): probability that one of k rollouts reaches jointLevel on all dimensions."""
    balance: Number
    """balance(k): expected best of the worst dimension."""


class RolloutResult(Model):
    """What the driver of a RolloutJob reports."""

    rollouts: RolloutCounts | None = None
    """What was sampled."""
    rewards: Annotated[list[RewardStatus], Field(max_length=16, json_schema_extra={"x-list-key": "name"})] = []
    """Distribution of each reward."""
    correlations: Annotated[list[Annotated[list[Number], Field(max_length=16)]], Field(max_length=16)] = []
    """Correlations of the calibrated rewards over rollouts, in the order of rewards (K × K)."""
    isolation: IsolationStatus | None = None
    """Classes of prompts."""
    curves: Annotated[list[CurvePoint], Field(max_length=12)] = []
    """Best-of-k curves."""


class RolloutStatus(CommonStatus, RolloutResult):
    """Status of a RolloutJob."""


class RolloutJob(Model):
    """Scaled rollouts, reward scoring, and isolation of single-reward prompts."""

    api_version: Literal["mora.dev/v1alpha1"] = API_VERSION
    """mora.dev/v1alpha1"""
    kind: Literal["RolloutJob"] = "RolloutJob"
    """RolloutJob"""
    metadata: ObjectMeta
    """Standard metadata; the name has at most 40 characters."""
    spec: RolloutSpec
    """Sample many rollouts per prompt, score them on every reward, and find the prompts that can earn only one reward."""
    status: RolloutStatus | None = None
    """What was seen of the job."""
