"""What a training tells the driver, and what it is told. Without torch: the driver itself does not train."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum


class Desire(IntEnum):
    """What the driver wants of the workers."""

    CONTINUE = 0
    CHECKPOINT = 1
    STOP = 2


@dataclass(frozen=True)
class Note:
    """How far a training is."""

    training: str
    stage: str
    completed: int
    total: int
    epoch: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    checkpoint: int = 0
    """Step of the newest checkpoint."""
    begun: int = 0
    """Step of the checkpoint that this attempt went on from."""


Report = Callable[[Note], Desire]
"""Tells the driver, and brings its answer."""
