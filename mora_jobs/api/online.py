"""Methods that sample from the policy while they train it: their settings, and the rules of a spec that has one."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .base import Model, Rule
from .texts import Seconds

ONLINE = ("GRPO", "REINFORCEPlusPlus")
"""Their names."""


class RewardOrder(StrEnum):
    SUM_THEN_NORMALISE = "SumThenNormalise"
    NORMALISE_THEN_SUM = "NormaliseThenSum"


class TokenLoss(StrEnum):
    GRPO = "GRPO"
    DAPO = "DAPO"
    DR_GRPO = "DrGRPO"


class OnlineSettings(Model):
    """Settings of methods that sample while they train."""

    iterations: Annotated[int, Field(ge=1, le=64)] = 1
    """Steps on the same responses μ, before the next ones are drawn."""
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Half width ε of the interval around 1 to which the ratio of new to old probability of a token is clipped; it matters above one iteration only."""
    token_loss: TokenLoss = TokenLoss.GRPO
    """How the losses of tokens become one. GRPO: mean over each response, then over responses. DAPO: mean over all tokens of the step. DrGRPO: sum over tokens, divided by the responses and maxTokens."""
    sync_timeout_seconds: Seconds = 300
    """How long the engines may take to load the weights of a step; after that the attempt fails as a fault of the infrastructure."""


class GRPOSettings(Model):
    """Settings of GRPO."""

    order: RewardOrder = RewardOrder.SUM_THEN_NORMALISE
    """SumThenNormalise: the weighted sum of the scores is normalised within each prompt's responses. NormaliseThenSum (GDPO): each score is normalised within the prompt's responses, then summed, then normalised over the step."""


class REINFORCEPlusPlusSettings(Model):
    """Settings of REINFORCEPlusPlus."""

    baseline: bool = False
    """Take a response's weighted score less the mean of its prompt's responses (REINFORCE++-baseline)."""


def online_rules() -> tuple[Rule, ...]:
    """The rules of a spec with `method`, `onlinePrompts`, `pairs`, `data`, `front`, `trainer` and `lora`."""
    names = list(ONLINE)
    online, offline = f"self.method.name in {names}", f"!(self.method.name in {names})"
    return (
        Rule(
            f"{offline} || has(self.onlinePrompts)",
            "this method samples while it trains: say from which prompts",
            "onlinePrompts",
        ),
        Rule(
            f"{online} || !has(self.onlinePrompts)",
            f"onlinePrompts goes with methods {' and '.join(names)} only",
            "onlinePrompts",
        ),
        Rule(
            f"{offline} || self.pairs.rule == 'Dominance'",
            "this method makes no pairs: leave pairs.rule out",
            "pairs.rule",
        ),
        Rule(
            f"{offline} || !has(self.data.preferences)",
            "this method makes no pairs: leave data.preferences out",
            "data.preferences",
        ),
        Rule(f"{offline} || has(self.lora)", "this method sends adapters to the engines: give lora", "lora"),
        Rule(
            f"{offline} || self.trainer.strategy == 'DDP'", "this method trains with strategy DDP", "trainer.strategy"
        ),
        Rule(
            f"{offline} || self.front.parallel == 1",
            "each training of this method has engines of its own: train one after the other",
            "front.parallel",
        ),
    )
