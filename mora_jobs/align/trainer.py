"""transformers' Trainer with an objective layer: K objectives from one forward pass, our batches, lean checkpoints.

Of TRL we use the tiled vocabulary projection (likelihood.py), not DPOTrainer: its loss is one block for one objective, it
has no resumable reference log-probabilities, and it measures entropies and accuracies over the vocabulary at every step.
"""

import os
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import SCHEDULER_NAME

from mora_jobs.align.batches import Schedule, collate
from mora_jobs.align.methods import Method
from mora_jobs.align.policy import trained_state
from mora_jobs.align.sharding import copy_into, load_optimizer, save_optimizer
from mora_jobs.align.tokens import TokenPair

WEIGHTS = "trained.safetensors"
Batch = dict[str, Tensor]


class ObjectiveTrainer(Trainer):
    """Trains a policy on signed pairs, with one weight for each objective."""

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        arguments: TrainingArguments,
        *,
        pairs: list[TokenPair],
        method: Method,
        objectives: tuple[str, ...],
        weights: tuple[float, ...],
        pad: int,
        callbacks: list[TrainerCallback],
    ) -> None:
        super().__init__(model=model, args=arguments, callbacks=callbacks)
        self.pairs, self.method, self.objectives, self.pad = pairs, method, objectives, pad
        self.weights = torch.tensor(weights, dtype=torch.float32)
        # The loss is a mean over pairs: Trainer divides it by the accumulation, DDP and FSDP by the workers.
        self.model_accepts_loss_kwargs = False
        self._figures = _Figures(objectives)
        self.sharded = isinstance(model, FSDPModule)
        # It is sliced already: nobody may wrap it again.
        self.is_distributed_loading_by_transformers = self.sharded

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The schedule deals batches to workers itself, so accelerate must not do it again."""
        arguments = self.args
        schedule = Schedule(
            [pair.length for pair in self.pairs],
            arguments.per_device_train_batch_size,
            arguments.gradient_accumulation_steps * arguments.world_size,
            arguments.max_steps,
            arguments.seed,
            arguments.process_index,
            arguments.world_size,
        )
        # In this process: reference log-probabilities are written into the pairs after this loader is made.
        return DataLoader(
            self.pairs,  # type: ignore[arg-type]  # a list is a dataset
            batch_sampler=schedule,
            collate_fn=lambda batch: collate(batch, self.pad),
            num_workers=0,
        )

    def compute_loss(
        self, model: nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Σ_k α_k L_k of one micro-batch, with α from the method."""
        margins, signs = margins_of(model, inputs), inputs["signs"]
        losses = self.method.losses(margins, signs)
        means = losses.mean(dim=0)
        weights = self.weights.to(means.device)
        alpha = self.method.coefficients(means.detach(), weights, lambda: self._gram(means, margins)).detach()
        self._figures.add(losses.detach(), margins.detach(), signs, alpha, inputs["attention_mask"])
        return (alpha * means).sum()

    def _gram(self, means: Tensor, margins: Tensor) -> Tensor:
        """[K, K] ⟨∂L_k/∂h, ∂L_j/∂h⟩ over the margins h of all workers: they hold different pairs, so their parts add."""
        rows = torch.stack([torch.autograd.grad(mean, margins, retain_graph=True)[0] for mean in means])
        total: Tensor = self.accelerator.reduce(rows @ rows.T, reduction="sum")
        return total / self.args.world_size**2

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Every worker comes here at the same steps, so the figures can be summed over workers."""
        totals = self.accelerator.reduce(self._figures.totals().to(self.args.device), reduction="sum")
        super().log(logs | self._figures.named(totals.cpu()), start_time)
        self._figures = _Figures(self.objectives)

    # Checkpoints hold the trained parameters only, whole; under FSDP each worker adds its slices of the optimiser state.

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        assert output_dir is not None
        os.makedirs(output_dir, exist_ok=True)
        state = trained_state(self.model, keep=self.args.should_save)
        if self.args.should_save:
            save_file(state, os.path.join(output_dir, WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        saved = load_file(os.path.join(resume_from_checkpoint, WEIGHTS))
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    copy_into(parameter, saved[name])

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.sharded:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        save_optimizer(self.model, self.optimizer.optimizer, Path(output_dir))
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), os.path.join(output_dir, SCHEDULER_NAME))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self.sharded or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        load_optimizer(self.model, self.optimizer.optimizer, Path(checkpoint))
        self.lr_scheduler.load_state_dict(torch.load(os.path.join(checkpoint, SCHEDULER_NAME), weights_only=True))


def margins_of(model: nn.Module, inputs: Batch) -> Tensor:
    """[B] log-ratio (policy over reference) of the chosen response less that of the rejected one, in nats."""
    likelihood = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        completion_mask=inputs["completion_mask"],
    )
    chosen, rejected = likelihood.chunk(2)
    reference_chosen, reference_rejected = inputs["reference"]
    margins: Tensor = (chosen - reference_chosen) - (rejected - reference_rejected)
    return margins


class _Figures:
    """Sums between two log lines: what each objective loses and gets right on the pairs that speak about it."""

    def __init__(self, objectives: tuple[str, ...]) -> None:
        self.objectives = objectives
        # rows: loss, pairs, right, coefficients; last column: margins, batches, tokens, places
        self._sums = torch.zeros(4, len(objectives) + 1, dtype=torch.float64)

    def add(self, losses: Tensor, margins: Tensor, signs: Tensor, alpha: Tensor, attention: Tensor) -> None:
        spoken = signs != 0
        rows = [(losses * spoken).sum(0), spoken.sum(0), (signs * margins[:, None] > 0).sum(0), alpha]
        column = [margins.abs().mean(), torch.ones(()), attention.sum(), torch.tensor(attention.numel())]
        self._sums[:, :-1] += torch.stack([row.double().cpu() for row in rows])
        self._sums[:, -1] += torch.stack([each.double().cpu() for each in column])

    def totals(self) -> Tensor:
        return self._sums.float()

    def named(self, totals: Tensor) -> dict[str, float]:
        batches = float(totals[1, -1])
        if not batches:
            return {}
        figures = {
            "margin": float(totals[0, -1]) / batches,
            "padding": 1 - float(totals[2, -1]) / float(totals[3, -1]),
        }
        for index, name in enumerate(self.objectives):
            loss, pairs, right, alpha = totals[:, index].tolist()
            figures[f"coefficient/{name}"] = alpha / batches
            if pairs:
                figures |= {f"loss/{name}": loss / pairs, f"accuracy/{name}": right / pairs}
        return figures
