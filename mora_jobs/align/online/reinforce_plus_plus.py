"""REINFORCE++ (arXiv 2501.03262) on the weighted sum of the scores: no critic, advantages normalised over all tokens of a step."""

from typing import Any

import torch
from torch import Tensor, nn

from mora_jobs.align.online.advantages import centred, normalised_over_tokens, returns, totals
from mora_jobs.align.online.trainer import Batch, Floats, OnlineTrainer


class REINFORCEPlusPlus(OnlineTrainer):
    """The KL to the reference stands in the reward, β·log(π/π_ref) for each token, and not in the loss.

    So it does for the variant with a baseline too, as in OpenRLHF; the paper puts a squared log-ratio into its loss.
    """

    def __init__(self, *args: Any, baseline: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._baseline = baseline

    def advantages(self, batch: Batch, scores: Floats, here: slice) -> Tensor:
        rewards = totals(scores, self.weights)
        if self._baseline:
            rewards = centred(rewards, self.num_generations)
        own = torch.tensor(rewards[here], device=self.accelerator.device)
        known = ~own.isnan()
        mask = batch["completion_mask"] * known[:, None]
        policy = batch.get("old_per_token_logps")
        divergence = (self._log_probs(batch) if policy is None else policy) - batch["ref_per_token_logps"]
        outcome = returns(own.nan_to_num(), divergence.double(), mask, self.beta)
        found = normalised_over_tokens(outcome, mask, self._add_up)
        tokens, divergences, squares = self._add_up(
            torch.stack([mask.sum().double(), (divergence * mask).sum().double(), (found**2).sum()])
        ).tolist()
        self._note(kl=divergences / max(tokens, 1), advantage_spread=(squares / max(tokens, 1)) ** 0.5)
        return found.float()

    def _log_probs(self, batch: Batch) -> Tensor:
        """[n, T] log π of the response tokens under the policy that drew them."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        size = self.args.per_device_train_batch_size
        with torch.no_grad():
            found: Tensor = self._get_per_token_logps_and_entropies(
                self.model, ids, attention, batch["completion_ids"].size(1), batch_size=size
            )[0]
        return found

    def _add_up(self, values: Tensor) -> Tensor:
        summed: Tensor = self.accelerator.reduce(values, reduction="sum")
        return summed

    def _compute_loss(self, model: nn.Module, inputs: Batch) -> Tensor:
        # TRL would add the KL to the loss, and it is in the advantages already.
        beta, self.beta = self.beta, 0.0
        try:
            loss: Tensor = super()._compute_loss(model, inputs)
            return loss
        finally:
            self.beta = beta
