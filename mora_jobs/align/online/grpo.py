"""GRPO on several objectives: summed before or after scores are normalised within a prompt's responses (advantages.py)."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mora_jobs.align.online.advantages import normalise_then_sum, sum_then_normalise, whiten
from mora_jobs.align.online.trainer import Batch, Floats, OnlineTrainer
from mora_jobs.api.online import RewardOrder


class GRPO(OnlineTrainer):
    """The KL to the reference stands in the loss, β·(e^d − d − 1) for each token with d = log π_ref − log π (2402.03300, Eq. 4)."""

    def __init__(self, *args: Any, order_of_rewards: RewardOrder, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._order_of_rewards = order_of_rewards

    def advantages(self, batch: Batch, scores: Floats, here: slice) -> Tensor:
        group = self.num_generations
        if self._order_of_rewards is RewardOrder.SUM_THEN_NORMALISE:
            found = sum_then_normalise(scores, self.weights, group)
        else:
            found = whiten(normalise_then_sum(scores, self.weights, group))
        self._note(advantage_spread=float(np.std(found)))
        return torch.tensor(found[here], dtype=torch.float32, device=self.accelerator.device)
