"""Which prompts can earn one reward dimension only: the isolation step of MORA.

The paper (arXiv 2605.11679, abstract) says that pre-sampling isolates single-reward prompts; the rule below, its
classes and thresholds are our own (docs/isolation.md).  Bounds: reach, spread and jointThreshold for MultiReward are
inclusive (≥), jointThreshold and plateauTolerance for SingleReward exclusive (<).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora_jobs.estimators.measures import SLACK, Measures, active, measure


class PromptClass(StrEnum):
    """What the rollouts of a prompt can earn."""

    SINGLE_REWARD = "SingleReward"
    """One active dimension, no rollout serves all, and more rollouts do not help: to be rewritten."""
    MULTI_REWARD = "MultiReward"
    """At least two active dimensions, earned together."""
    DEAD = "Dead"
    """No active dimension: neither trained on nor rewritten by mistake, so it is counted apart."""
    MIXED = "Mixed"
    """Everything else, prompts without one complete sample included."""


CLASSES = tuple(PromptClass)
_SINGLE, _MULTI, _DEAD, _MIXED = range(4)


@dataclass(frozen=True)
class Thresholds:
    """`spec.isolation` of a RolloutJob, in the scale of calibrated scores [0, 1]; defaults live in the API."""

    criterion: str
    reach_threshold: float
    spread_threshold: float
    joint_level: float
    joint_threshold: float
    plateau_tolerance: float


@dataclass(frozen=True)
class Isolation:
    """Classes of P prompts with K dimensions."""

    codes: NDArray[np.int8]
    """[P] index into CLASSES."""
    dimension: NDArray[np.int16]
    """[P] the only active dimension of a single-reward prompt, else −1."""
    active: NDArray[np.bool_]
    """[P, K] the active dimensions."""
    unmeasured: NDArray[np.bool_]
    """[P] prompts without one complete sample; they are Mixed."""

    def __len__(self) -> int:
        return len(self.codes)

    def label(self, prompt: int) -> PromptClass:
        """The class of one prompt."""
        return CLASSES[int(self.codes[prompt])]

    def is_class(self, kind: PromptClass) -> NDArray[np.bool_]:
        """[P] mask of one class."""
        return np.asarray(self.codes == CLASSES.index(kind))

    def histogram(self, dimensions: Sequence[str]) -> dict[str, Any]:
        """Counts as in `status.isolation`, and `unmeasured`, the part of `mixed` that could not be measured.

        {singleReward: {dimension: n} for every dimension, multiReward, dead, mixed, unmeasured}; the first four add up
        to the number of prompts.
        """
        single = {name: int((self.dimension == m).sum()) for m, name in enumerate(dimensions)}
        multi, dead, mixed = (int((self.codes == code).sum()) for code in (_MULTI, _DEAD, _MIXED))
        unmeasured = int(self.unmeasured.sum())
        return {"singleReward": single, "multiReward": multi, "dead": dead, "mixed": mixed, "unmeasured": unmeasured}


def classify(measures: Measures, thresholds: Thresholds) -> Isolation:
    """Classes of all prompts.

    SingleReward: one active dimension of at least two, joint(n) < jointThreshold, balance(n) − balance(n/2) <
    plateauTolerance.  MultiReward: two or more active, joint(n) ≥ jointThreshold.  Dead: none active.  Mixed: the rest.
    Two samples at least are needed to see a plateau, and one complete sample to say anything: with one reward, one
    sample or no complete sample no prompt is SingleReward.
    """
    exercised = active(measures, thresholds.criterion, thresholds.reach_threshold, thresholds.spread_threshold)
    count = exercised.sum(axis=1)
    measured = measures.complete > 0
    # comparisons with NaN are false, so an unknown plateau or joint never makes a prompt single or multi
    apart = measures.joint < thresholds.joint_threshold - SLACK
    together = measures.joint >= thresholds.joint_threshold - SLACK
    plateau = measures.balance_gain < thresholds.plateau_tolerance - SLACK
    several_rewards = exercised.shape[1] > 1

    single = measured & (count == 1) & apart & plateau & several_rewards
    multi = measured & (count >= 2) & together
    dead = measured & (count == 0)
    codes = np.select([single, multi, dead], [_SINGLE, _MULTI, _DEAD], default=_MIXED).astype(np.int8)
    dimension = np.where(single, exercised.argmax(axis=1), -1).astype(np.int16)
    return Isolation(codes, dimension, exercised, ~measured)


def classify_prompt(u: ArrayLike, thresholds: Thresholds) -> tuple[PromptClass, int | None]:
    """Class of one prompt from its scores [N, K] (NaN = missing), and the dimension if it is SingleReward."""
    isolation = classify(measure(np.asarray(u, dtype=np.float64)[None], thresholds.joint_level), thresholds)
    dimension = int(isolation.dimension[0])
    return isolation.label(0), None if dimension < 0 else dimension
