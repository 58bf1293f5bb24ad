"""Reward functions and how several of them become one number."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from .base import Model, NameRef, Rule, exactly_one_of, given
from .inputs import DType, Engine, ModelRef, OpenAICompatible
from .preferences import LabelledPairs
from .texts import HTTP, CallablePath, Dimension, Name, Seconds


class Scale(StrEnum):
    HIGHER_IS_BETTER = "HigherIsBetter"
    LOWER_IS_BETTER = "LowerIsBetter"


class Template(StrEnum):
    """How prompt and response become the text that a classifier reads."""

    CHAT = "Chat"
    HUMAN_ASSISTANT = "HumanAssistant"
    BEAVER = "Beaver"
    PAIR = "Pair"
    RESPONSE = "Response"


class AggregationMethod(StrEnum):
    """The methods that are implemented, and only those."""

    UNIFORM = "Uniform"
    FIXED = "Fixed"
    RANDOM = "Random"
    SINGLE = "Single"
    ENCORE = "ENCORE"
    LEARNED = "Learned"
    RULE_ADAPTER = "RuleAdapter"


LEVELS_DIFFER = Rule(
    "self.levels.all(level, self.levels.exists_one(other, other == level))", "the levels must differ", "levels"
)


class ClassifierReward(Model):
    """A sequence-classification model, or a folder of heads made by `mora fit-reward`."""

    model: ModelRef
    """The reward model."""
    head: Annotated[int, Field(ge=0, le=1023)] = 0
    """Index of the output that is the reward (e.g. 10 is `beavertails-is_safe` of ArmoRM)."""
    template: Template = Template.CHAT
    """Chat uses the model's chat template; HumanAssistant is `\\n\\nHuman: … \\n\\nAssistant: …`; Beaver is the beaver models' form; Pair gives two segments; Response gives the response alone."""
    max_length: Annotated[int, Field(ge=8, le=131_072)] | None = None
    """Longest input in tokens, longer ones are cut from the left; the model's own limit when absent."""
    batch_tokens: Annotated[int, Field(ge=64, le=10_000_000)] = 8192
    """Tokens in one batch; inputs are bucketed by length."""
    dtype: DType = DType.AUTO
    """Number format of the weights. Auto is the checkpoint's own on a GPU and Float32 on a CPU; only Float32 scores are the same to 1e-5 in every batch."""


class JudgeReward(Model):
    """A language model that rates by a rubric."""

    cel: ClassVar[tuple[Rule, ...]] = (exactly_one_of("model", "openAICompatible"), LEVELS_DIFFER)
    model: ModelRef | None = None
    """The judge, run by the job's engine. The score is the expectation over the levels' probabilities."""
    open_ai_compatible: Annotated[OpenAICompatible | None, Field(alias="openAICompatible")] = None
    """A judge behind a server. Without log-probabilities there, the score is the level that it answers."""
    rubric: Annotated[str, StringConstraints(min_length=1, max_length=8192)]
    """What is rated and what each level means."""
    levels: Annotated[list[Annotated[int, Field(ge=-1000, le=1000)]], Field(min_length=2, max_length=11)] = [
        1,
        2,
        3,
        4,
        5,
    ]
    """The levels of the rating scale."""
    engine: Engine = Engine()
    """Engine of the judge."""


class PythonReward(Model):
    """A Python function `f(prompts: list[str], responses: list[str], **columns: list) -> list[float | None]`."""

    callable: CallablePath
    """module:function. The function may also be a class, made once per worker."""
    code_config_map_ref: NameRef | None = None
    """ConfigMap with the module, in a cluster. `mora run` imports it from the manifest's folder."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 256
    """Responses in one call."""


class HttpReward(Model):
    """A server that rates: POST {items: [{id, prompt, response, fields}]} answers {scores: [number | null]}."""

    url: Annotated[str, StringConstraints(pattern=HTTP, max_length=1024)]
    """Address of the server."""
    credentials_ref: Name | None = None
    """Name of an entry of spec.credentials, sent as a bearer token."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 64
    """Responses in one request."""
    timeout_seconds: Seconds = 60
    """Time limit of one request."""
    max_retries: Annotated[int, Field(ge=0, le=20)] = 5
    """Retries of a request, with exponential back-off."""


class Reward(Model):
    """One dimension that responses are scored on."""

    cel: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("classifier", "judge", "python", "http"),
        Rule(f"!has(self.levels) || ({LEVELS_DIFFER.expression})", LEVELS_DIFFER.message, LEVELS_DIFFER.field),
    )
    name: Dimension
    """Name of the dimension, e.g. helpful."""
    scale: Scale = Scale.HIGHER_IS_BETTER
    """LowerIsBetter for costs and toxicity."""
    levels: Annotated[list[Annotated[float, Field(ge=-1e6, le=1e6)]], Field(min_length=2, max_length=101)] | None = (
        None
    )
    """Rating levels, where the reward has few values; ENCORE's entropy is over them. Otherwise over aggregation.bins."""
    classifier: ClassifierReward | None = None
    """A reward model."""
    judge: JudgeReward | None = None
    """A language model as a judge."""
    python: PythonReward | None = None
    """A Python function."""
    http: HttpReward | None = None
    """A server."""

    @property
    def lower_is_better(self) -> bool:
        return self.scale is Scale.LOWER_IS_BETTER

    @property
    def type(self) -> Literal["classifier", "judge", "python", "http"]:
        """Which member of the union is given."""
        if self.classifier is not None:
            return "classifier"
        if self.judge is not None:
            return "judge"
        return "python" if self.python is not None else "http"


class RewardWeight(Model):
    """Weight of one reward."""

    name: Dimension
    """Name of the reward."""
    weight: Annotated[float, Field(ge=0, le=1)]
    """Weight; all weights sum to 1."""


class Aggregation(Model):
    """How the calibrated scores of several rewards become one: for pairs of rule Aggregate and the overall score."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.method == 'Fixed') == (self.weights.size() > 0)",
            "weights go with method Fixed, and only with it",
            "weights",
        ),
        Rule(
            "self.method != 'Fixed' || self.weights.size() == 0 || (self.weights.map(w, w.weight).sum() > 0.999 && self.weights.map(w, w.weight).sum() < 1.001)",
            "the weights must sum to 1",
            "weights",
        ),
        Rule("!has(self.seed) || self.method == 'Random'", "seed goes with method Random only", "seed"),
        Rule("!has(self.reward) || self.method == 'Single'", "reward goes with method Single only", "reward"),
        Rule(
            "(self.method == 'Learned') == has(self.preferences)",
            "preferences go with method Learned, and only with it",
            "preferences",
        ),
        Rule(
            "(self.method == 'RuleAdapter') == has(self.encoder)",
            "encoder goes with method RuleAdapter, and only with it",
            "encoder",
        ),
        Rule("!has(self.rules) || self.method == 'RuleAdapter'", "rules go with method RuleAdapter only", "rules"),
    )
    method: AggregationMethod = AggregationMethod.UNIFORM
    """Uniform; Fixed; Random: a point of the simplex; Single: one reward; ENCORE (arXiv 2503.20995): weights ∝ exp(−entropy / temperature), entropies in nats; Learned: non-negative weights that explain labelled pairs; RuleAdapter (arXiv 2501.15453): for each prompt the rewards that tell its answers apart."""
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0
    """Temperature of ENCORE."""
    bins: Annotated[int, Field(ge=2, le=100)] = 10
    """Equal-width bins between a reward's extremes, for the entropy of rewards without levels."""
    weights: Annotated[list[RewardWeight], Field(max_length=16, json_schema_extra={"x-list-key": "name"})] = []
    """Weights of method Fixed."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    """Seed of method Random; 0 when absent."""
    reward: Dimension | None = None
    """The reward of method Single; the one of least entropy when absent."""
    preferences: LabelledPairs | None = None
    """Labelled pairs of method Learned. The job's rewards score both answers."""
    encoder: ModelRef | None = None
    """Sentence encoder of method RuleAdapter, as of `mora fit-reward`."""
    rules: Annotated[int, Field(ge=1, le=16)] | None = None
    """Rewards that method RuleAdapter weighs for a prompt; 5 when absent, never more than there are."""


def credentials_known(rewards: str, condition: str = "true") -> tuple[Rule, ...]:
    """The rules of a spec that every `credentialsRef` of its rewards is in spec.credentials."""
    rules = []
    for owner in ("http", "judge.openAICompatible"):
        path = f"{owner}.credentialsRef"
        known = f"self.credentials.exists(each, each.name == r.{path})"
        expression = f"!({condition}) || self.{rewards}.all(r, !({given('r', path)}) || {known})"
        message = f"{owner}.credentialsRef of a reward is not the name of an entry of spec.credentials"
        rules.append(Rule(expression, message, rewards))
    return tuple(rules)


Rewards = Annotated[list[Reward], Field(min_length=1, max_length=16, json_schema_extra={"x-list-key": "name"})]
