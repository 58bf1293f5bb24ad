"""What samples and scores in an online training, as its task carries it to the workers."""

from dataclasses import dataclass
from typing import Any

from mora_jobs.align.evaluate import Measurement


@dataclass(frozen=True)
class Sampler:
    """Everything in it can be pickled."""

    how: Measurement
    """The rewards of the rollout job, the engine, and the sampling of the training."""
    import_paths: tuple[str, ...]
    calibration: str
    """Digest of the frozen calibration."""

    def decides(self) -> dict[str, Any]:
        """What of it decides the result."""
        return {
            "sampling": self.how.sampling.to_dict(),
            "engine": self.how.engine.to_dict(),
            "rewards": [reward.to_dict() for reward in self.how.rewards],
            "calibration": self.calibration,
        }
