"""The training methods: their names, one optional block of settings each, and what each of them accepts."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from .base import Model, Rule
from .online import ONLINE, GRPOSettings, OnlineSettings, REINFORCEPlusPlusSettings
from .texts import Dimension


class PairRule(StrEnum):
    DOMINANCE = "Dominance"
    STAGE_GUARD = "StageGuard"
    PER_OBJECTIVE = "PerObjective"
    AGGREGATE = "Aggregate"
    POOL = "Pool"
    DATASET = "Dataset"


class MethodName(StrEnum):
    """The methods that are implemented, and only those."""

    DPO = "DPO"
    MOPO = "MOPO"
    MGDA = "MGDA"
    MGDA_NORMALISED = "MGDANormalised"
    MGDA_DECOUPLED = "MGDADecoupled"
    GROUP_DRO = "GroupDRO"
    CAGRAD = "CAGrad"
    RACO = "RACO"
    MODPO = "MODPO"
    ORTH_ALIGN = "OrthAlign"
    LIRE = "LIRE"
    GRPO = "GRPO"
    REINFORCE_PLUS_PLUS = "REINFORCEPlusPlus"


class LossType(StrEnum):
    """TRL's `loss_type`, in this API's spelling."""

    SIGMOID = "Sigmoid"
    SIGMOID_NORM = "SigmoidNorm"
    HINGE = "Hinge"
    IPO = "IPO"
    EXO_PAIR = "EXOPair"
    NCA_PAIR = "NCAPair"
    ROBUST = "Robust"
    BCO_PAIR = "BCOPair"
    SPPO_HARD = "SPPOHard"
    AOT = "AOT"
    AOT_UNPAIRED = "AOTUnpaired"
    APO_ZERO = "APOZero"
    APO_DOWN = "APODown"
    DISCOPOP = "DiscoPOP"
    SFT = "SFT"


class Preference(StrEnum):
    COMPARISON = "Comparison"
    BRADLEY_TERRY = "BradleyTerry"


class Margins(StrEnum):
    REWARDS = "Rewards"
    IMPLICIT = "Implicit"


class Gram(StrEnum):
    EXACT = "Exact"
    MARGIN = "Margin"


class PairLoss(Model):
    """The loss of one pair for one objective."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.type != 'EXOPair' || self.labelSmoothing > 0.0",
            "EXOPair needs labelSmoothing above 0, e.g. 0.001",
            "labelSmoothing",
        ),
        Rule(
            "self.labelSmoothing == 0.0 || self.type in ['EXOPair', 'Robust', 'AOT', 'AOTUnpaired']",
            "labelSmoothing goes with EXOPair, Robust, AOT and AOTUnpaired only",
            "labelSmoothing",
        ),
    )
    type: LossType = LossType.SIGMOID
    """The losses of TRL's DPOTrainer by their names there: Sigmoid (DPO), SigmoidNorm, Hinge, IPO, EXOPair, NCAPair, Robust, BCOPair, SPPOHard, AOT, AOTUnpaired, APOZero, APODown, DiscoPOP, SFT."""
    label_smoothing: Annotated[float, Field(ge=0, le=0.49)] = 0.0
    """Share of the pairs whose label is taken to be wrong (EXOPair: the ε of its target)."""
    modulation: Annotated[float, Field(gt=0, le=100)] = 0.05
    """Temperature of DiscoPOP's modulation."""


class WinRateBound(Model):
    """A bound on one objective."""

    name: Dimension
    """Name of the objective."""
    win_rate: Annotated[float, Field(gt=0, lt=1)]
    """Least mean win rate against the model that the candidates were sampled from; 0.5 is as good as that model."""


class MOPOSettings(Model):
    """Settings of MOPO. Its primary objective is the one with `primary: true`, else the first."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("!has(self.scale) || self.preference == 'BradleyTerry'", "scale goes with BradleyTerry only", "scale"),
    )
    temperature: Annotated[float, Field(gt=0, le=100)] = 0.08
    """Temperature τ: strength of the pull to the reference policy, in units of the win rate."""
    preference: Preference = Preference.COMPARISON
    """How two calibrated scores become a preference: Comparison says 1, ½ or 0, BradleyTerry σ(scale · gap)."""
    scale: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Scale of BradleyTerry; 10 when absent."""
    bounds: Annotated[list[WinRateBound], Field(max_length=8, json_schema_extra={"x-list-key": "name"})] = []
    """Bounds of the secondary objectives, an unnamed one has none. When empty, bounds ratchet: no objective may fall below `relaxation` times what the policy had reached."""
    relaxation: Annotated[float, Field(gt=0, le=1)] = 0.9995
    """Factor β of the ratchet."""
    lag_steps: Annotated[int, Field(ge=1, le=10_000_000)] = 500
    """Optimiser steps between two refreshes t₀: of the reference policy, by what the policy was t₀ steps before, and of ratcheting bounds."""
    robustness: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Radius ε, in nats, of the distributions that a bound must hold under; 0 takes the win rates as they are."""


class GroupDROSettings(Model):
    """Settings of GroupDRO."""

    step_size: Annotated[float, Field(gt=0, le=10)] = 0.01
    """Step size η of the exponentiated update of the objectives' coefficients."""


class CAGradSettings(Model):
    """Settings of CAGrad and RACO."""

    radius: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """Radius c of the ball around the weighted gradient in which the step is looked for, relative to its norm."""


class MGDADecoupledSettings(Model):
    """Settings of MGDADecoupled."""

    guard: bool = False
    """Take the loss-normalised step instead where the method's own step would let an objective rise."""


class MODPOSettings(Model):
    """Settings of MODPO. Its own objective is the one with `primary: true`, else at each point the one with the largest weight."""

    margins: Margins = Margins.REWARDS
    """What says how much better the other objectives find a response. Rewards: the calibrated scores of the rollouts. Implicit: for each objective a DPO policy is trained first, and β times its log-ratio to the reference is the reward."""
    scale: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Factor on calibrated scores, so that a gap of them is on the scale of Bradley–Terry logits."""


def own_objective(objectives: Sequence[str], weights: Sequence[float], primary: str) -> str:
    """MODPO's own objective: the primary one if it has a weight, else that with the largest, the first of equals.

    Any objective with a weight leads to the same optimum, but the loss divides by its weight.
    """
    given = dict(zip(objectives, weights, strict=True))
    return primary if given.get(primary, 0) > 0 else max(given, key=lambda name: given[name])


class OrthAlignSettings(Model):
    """Settings of OrthAlign."""

    protected_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the squared singular values of what earlier stages learned, whose directions a later stage leaves alone."""


class LIRESettings(Model):
    """Settings of LIRE."""

    temperature: Annotated[float, Field(gt=0, le=1000)] = 2.0
    """Temperature T of the policy's distribution over the candidates of a prompt."""
    candidates: Annotated[int, Field(ge=2, le=64)] = 6
    """Candidates of a prompt at most, spread over the ranking by the weighted score, the best and the worst among them."""


def goes_with(block: str, *methods: str) -> Rule:
    """The rule of a method that a block of settings is given with some methods only."""
    names = [str(name) for name in methods]
    noun = "method" if len(names) == 1 else "methods"
    return Rule(
        f"!has(self.{block}) || self.name in {names}", f"{block} goes with {noun} {' and '.join(names)} only", block
    )


class Method(Model):
    """The training method."""

    cel: ClassVar[tuple[Rule, ...]] = (
        goes_with("mopo", MethodName.MOPO),
        goes_with("modpo", MethodName.MODPO),
        goes_with("orthAlign", MethodName.ORTH_ALIGN),
        goes_with("lire", MethodName.LIRE),
        goes_with("online", *ONLINE),
        goes_with("grpo", MethodName.GRPO),
        goes_with("reinforcePlusPlus", MethodName.REINFORCE_PLUS_PLUS),
        goes_with("groupDRO", MethodName.GROUP_DRO),
        goes_with("cagrad", MethodName.CAGRAD, MethodName.RACO),
        goes_with("mgdaDecoupled", MethodName.MGDA_DECOUPLED),
    )
    name: MethodName = MethodName.DPO
    """Name; one optional block each."""
    beta: Annotated[float, Field(gt=0, le=100)] = 0.1
    """Strength of the pull to the reference model."""
    loss: PairLoss = PairLoss()
    """The loss of a pair, for methods on pairs."""
    gram: Gram = Gram.EXACT
    """For methods that weigh the objectives' gradients. Exact: one backward pass for each objective. Margin: one backward pass, the gradients compared as they are with respect to the log-probabilities of the responses."""
    control_steps: Annotated[int, Field(ge=1, le=10_000_000)] = 50
    """Under gram Margin: steps between two controls by the exact gradients, whose cosine is logged."""
    mopo: MOPOSettings | None = None
    """Settings of MOPO."""
    modpo: MODPOSettings | None = None
    """Settings of MODPO."""
    orth_align: OrthAlignSettings | None = None
    """Settings of OrthAlign."""
    lire: LIRESettings | None = None
    """Settings of LIRE."""
    online: OnlineSettings | None = None
    """Settings of methods that sample while they train: GRPO and REINFORCEPlusPlus."""
    grpo: GRPOSettings | None = None
    """Settings of GRPO."""
    reinforce_plus_plus: REINFORCEPlusPlusSettings | None = None
    """Settings of REINFORCEPlusPlus."""
    group_dro: Annotated[GroupDROSettings | None, Field(alias="groupDRO")] = None
    """Settings of GroupDRO."""
    cagrad: CAGradSettings | None = None
    """Settings of CAGrad and RACO."""
    mgda_decoupled: MGDADecoupledSettings | None = None
    """Settings of MGDADecoupled."""


@dataclass(frozen=True)
class Accepts:
    """What a method can be combined with."""

    rules: frozenset[PairRule]
    """Pair rules that it can learn from."""
    staged: bool = True
    """Whether it can train one objective after the other (regime Sequential)."""
    simultaneous: bool = True
    """Whether it can train all at once (regime Simultaneous)."""
    weighted: bool = True
    """Whether other weights of the objectives give another policy, so that a front of several points makes sense."""


SIGNED = frozenset({PairRule.PER_OBJECTIVE, PairRule.DATASET})
"""Rules under which objectives may disagree about a pair, or have pairs of their own."""
BALANCING = Accepts(SIGNED, staged=False, weighted=False)

ACCEPTS: dict[MethodName, Accepts] = {
    MethodName.DPO: Accepts(frozenset(PairRule) - {PairRule.POOL}),
    MethodName.MOPO: Accepts(frozenset({PairRule.POOL}), staged=False, weighted=False),
    MethodName.MGDA: BALANCING,
    MethodName.MGDA_NORMALISED: BALANCING,
    MethodName.MGDA_DECOUPLED: BALANCING,
    MethodName.GROUP_DRO: BALANCING,
    MethodName.CAGRAD: Accepts(SIGNED, staged=False),
    MethodName.RACO: Accepts(SIGNED, staged=False),
    MethodName.MODPO: Accepts(SIGNED, staged=False),
    MethodName.ORTH_ALIGN: Accepts(
        frozenset({PairRule.STAGE_GUARD, PairRule.PER_OBJECTIVE, PairRule.DATASET}), simultaneous=False
    ),
    MethodName.LIRE: Accepts(frozenset({PairRule.POOL}), staged=False),
    MethodName.GRPO: Accepts(frozenset()),
    MethodName.REINFORCE_PLUS_PLUS: Accepts(frozenset()),
}


def objectives_known() -> tuple[Rule, ...]:
    """The rules of a spec that methods name its objectives."""
    bounds = "!has(self.method.mopo) || self.method.mopo.bounds.all(b, {})"
    return (
        Rule(
            bounds.format("self.objectives.exists(o, o.name == b.name)"),
            "a bound must name one of the objectives",
            "method.mopo.bounds",
        ),
        Rule(
            bounds.format(
                "!self.objectives.exists(o, o.primary && o.name == b.name) && "
                "(self.objectives.exists(o, o.primary) || self.objectives[0].name != b.name)"
            ),
            "the primary objective is maximised and takes no bound; the first is primary unless another says so",
            "method.mopo.bounds",
        ),
    )


def acceptance_rules() -> tuple[Rule, ...]:
    """ACCEPTS as rules of a spec with `method`, `pairs`, `regime` and `front`."""
    rules = []
    for name, accepts in ACCEPTS.items():
        if not accepts.rules:
            continue  # online_rules
        known = [rule.value for rule in PairRule if rule in accepts.rules]
        rules.append(
            Rule(
                f"self.method.name != '{name.value}' || self.pairs.rule in {known}",
                f"method {name.value} does not accept this pair rule; it accepts {', '.join(known)}",
                "pairs.rule",
            )
        )
    signed = [name.value for name, accepts in ACCEPTS.items() if accepts.rules == SIGNED]
    unstaged = [name.value for name, accepts in ACCEPTS.items() if not accepts.staged]
    consecutive = [name.value for name, accepts in ACCEPTS.items() if not accepts.simultaneous]
    unweighted = [name.value for name, accepts in ACCEPTS.items() if not accepts.weighted]
    rules += [
        Rule(
            "self.pairs.rule != 'Pool' || !has(self.data.preferences)",
            "pair rule Pool takes scored rollouts; data.preferences are pairs",
            "data.preferences",
        ),
        Rule(
            f"self.pairs.rule != 'Dataset' || !(self.method.name in {signed}) || !has(self.data.preferences) || "
            "has(self.data.preferences.columns.objective)",
            "without columns.objective all objectives have the same pairs, and there is nothing to balance",
            "data.preferences",
        ),
        Rule(
            f"self.regime == 'Simultaneous' || !(self.method.name in {unstaged})",
            "this method looks at all objectives at once: use regime Simultaneous",
            "regime",
        ),
        Rule(
            f"self.regime == 'Sequential' || !(self.method.name in {consecutive})",
            "this method trains one objective after the other: use regime Sequential",
            "regime",
        ),
        Rule(
            "self.method.name != 'OrthAlign' || has(self.lora)",
            "OrthAlign keeps low-rank updates apart: give lora",
            "lora",
        ),
        Rule(
            "self.method.name != 'MODPO' || self.pairs.rule != 'Dataset' || (has(self.method.modpo) && "
            "self.method.modpo.margins == 'Implicit')",
            "given pairs have no scores: use modpo.margins Implicit",
            "method.modpo",
        ),
        Rule(
            f"self.front.strategy == 'Single' || !(self.method.name in {unweighted})",
            "this method finds its own weights, so every point of the front would be the same policy: use strategy Single",
            "front.strategy",
        ),
    ]
    return tuple(rules)
