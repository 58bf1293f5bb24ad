"""transformers' Trainer with an objective layer: K objectives from one forward pass, our batches, lean checkpoints.

Of TRL we use the tiled vocabulary projection (likelihood.py), not DPOTrainer: its loss is one block for one objective, it
has no resumable reference log-probabilities, and it measures entropies and accuracies over the vocabulary at every step.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import SCHEDULER_NAME

from mora_jobs.align.batches import Schedule, collate
from mora_jobs.align.methods import Answers, Method, Needs
from mora_jobs.align.objective_gradients import ObjectiveGradients, cosine
from mora_jobs.align.policy import load_trained, save_trained
from mora_jobs.align.sharding import load_optimizer, save_optimizer
from mora_jobs.align.step_figures import StepFigures
from mora_jobs.align.tokens import Example
from mora_jobs.api.methods import Gram

log = logging.getLogger(__name__)

METHOD = "method.safetensors"
Batch = dict[str, Tensor]
Floats = np.ndarray[Any, np.dtype[np.float64]]


class ObjectiveTrainer(Trainer):
    """Trains a policy on examples with the losses of a method, and weighs its objectives once for each step."""

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        arguments: TrainingArguments,
        *,
        examples: list[Example],
        method: Method,
        gram: Gram,
        control_steps: int,
        pad: int,
        callbacks: list[TrainerCallback],
    ) -> None:
        super().__init__(model=model, args=arguments, callbacks=callbacks)
        self.examples, self.method, self.pad = examples, method, pad
        self.gram, self.control_steps = gram, control_steps
        # The loss is a mean: Trainer divides it by the accumulation, DDP and FSDP by the workers.
        self.model_accepts_loss_kwargs = False
        self._figures = StepFigures(method.objectives)
        self._warned = np.zeros(len(method.objectives), np.bool_)
        self.sharded = isinstance(model, FSDPModule)
        # It is sliced already: nobody may wrap it again.
        self.is_distributed_loading_by_transformers = self.sharded

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The schedule deals batches to workers itself, so accelerate must not do it again."""
        arguments = self.args
        schedule = Schedule(
            [example.length for example in self.examples],
            arguments.per_device_train_batch_size,
            arguments.gradient_accumulation_steps * arguments.world_size,
            arguments.max_steps,
            arguments.seed,
            arguments.process_index,
            arguments.world_size,
        )
        return DataLoader(
            self.examples,  # type: ignore[arg-type]  # a list is a dataset
            batch_sampler=schedule,
            collate_fn=lambda batch: collate(batch, self.pad),
            num_workers=0,
        )

    # One step: what it is about is counted, the objectives are weighed once for all of its micro-batches and workers.

    def get_batch_samples(self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device) -> Any:
        """The micro-batches of the next step."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._batches = batches
        counts = torch.stack([(batch["signs"] != 0).sum(0) for batch in batches]).sum(0).to(device)
        self._counts = self.accelerator.reduce(counts, reduction="sum").float()
        self._losses = torch.zeros_like(self._counts)
        self._coefficients: Floats | None = None
        gradients = self.method.needs is Needs.GRAM
        controlled = self.gram is Gram.MARGIN and (self.state.global_step + 1) % self.control_steps == 0
        self._exact = gradients and (self.gram is Gram.EXACT or controlled)
        self._at_margins = not gradients or self.gram is Gram.MARGIN
        return batches, items

    def compute_loss(
        self, model: nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Σ_k c_k times this micro-batch's share of L_k, as Trainer and the workers' averaging want it scaled."""
        answers = self._see(model, inputs)
        assert self._coefficients is not None
        coefficients = torch.from_numpy(self._coefficients).to(self._counts)
        # What has coefficient 0 may be no number, and 0 · NaN is none either: neither here nor on the way back.
        used = coefficients != 0
        losses = self._shares(replace(answers, signs=answers.signs * used))
        total = (coefficients[used] * losses[used]).sum()
        return total * (self.current_gradient_accumulation_steps * self.args.world_size)

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward pass of a micro-batch; K backward passes where the exact gradients are wanted."""
        if self._at_margins and self._coefficients is None:
            if self.method.needs is Needs.WEIGHTS:  # nothing of the step is looked at: no worker waits for another
                self._coefficients = self._choose(np.zeros(len(self.method.objectives)), None)
            elif len(self._batches) > 1:
                self._weigh(self._look_ahead(self._batches))
        if not self._exact:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        if not hasattr(self, "_gradients"):
            self._gradients = ObjectiveGradients(model.parameters(), len(self.method.objectives))
        # The workers' gradients are brought together once, for all objectives, when the step is whole.
        with self.accelerator.no_sync(model):
            with self.compute_loss_context_manager():
                losses = self._shares(self._see(model, self._prepare_inputs(inputs)))
            self._gradients.add(losses)
        self._losses += losses.detach()
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=losses.device)
        self._gradients.reduce()
        total = self.accelerator.reduce(self._losses, reduction="sum").double().cpu().numpy()
        gram = self._gradients.gram()
        if self._coefficients is None:
            self._coefficients = self._choose(total, gram)
        else:
            by_gradients = self.method.coefficients(total, gram, self._present(total, gram))
            self._figures.add_control(cosine(self._coefficients, by_gradients, gram))
        coefficients = self._coefficients
        self._gradients.write(coefficients)
        return torch.tensor(np.nansum(coefficients * total), dtype=losses.dtype, device=losses.device)

    def _see(self, model: nn.Module, inputs: Batch) -> Answers:
        """The forward pass. In a step of one micro-batch, that is all there is to weigh the objectives by."""
        answers = answers_of(model, inputs)
        self._figures.add_batch(self.method.losses(answers).detach(), answers, inputs["attention_mask"])
        if self._at_margins and self._coefficients is None:
            self._weigh([answers])
        return answers

    def _shares(self, answers: Answers) -> Tensor:
        """[K] what a micro-batch contributes to the L_k of the step."""
        return self.method.losses(answers).sum(dim=0) / self._counts.clamp(min=1)

    def _look_ahead(self, batches: Sequence[Batch]) -> list[Answers]:
        """A forward pass more, because a step that accumulates must be weighed before its first backward pass."""
        model = self.model_wrapped.train()
        # The same dropout as in the passes that follow.
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad(), self.compute_loss_context_manager():
            return [answers_of(model, self._prepare_inputs(batch)) for batch in batches]

    def _weigh(self, step: Sequence[Answers]) -> None:
        """Coefficients from the losses of the step, and their gradients with respect to the responses' log-probabilities."""
        count = len(self.method.objectives)
        losses, gram = self._counts.new_zeros(count), self._counts.new_zeros(count, count)
        for each in step:
            seen = each.policy.detach().requires_grad_()
            own = self._shares(replace(each, policy=seen))
            losses += own.detach()
            if self.method.needs is Needs.GRAM:
                rows = torch.stack([torch.autograd.grad(part, seen, retain_graph=True)[0].flatten() for part in own])
                gram += rows @ rows.T
        # The workers hold different responses, so their parts add.
        both = self.accelerator.reduce(torch.cat([losses[None], gram]), reduction="sum").double().cpu().numpy()
        self._coefficients = self._choose(both[0], both[1:] if self.method.needs is Needs.GRAM else None)

    def _choose(self, losses: Floats, gram: Floats | None) -> Floats:
        present = self._present(losses, gram)
        left_out = ~present & (self._counts > 0).cpu().numpy()
        for index in np.flatnonzero(left_out & ~self._warned):
            log.warning("%s has no finite loss or gradient: left out of such steps", self.method.objectives[index])
        self._warned |= left_out
        coefficients = self.method.coefficients(losses, gram, present)
        self._figures.add_step(coefficients, gram, left_out)
        return coefficients

    def _present(self, losses: Floats, gram: Floats | None) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[K] objectives that pairs of the step are about, and whose loss and gradient are numbers."""
        finite = np.isfinite(losses) if gram is None else np.isfinite(losses) & np.isfinite(np.diag(gram))
        return np.asarray((self._counts > 0).cpu().numpy() & finite)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Every worker comes here at the same steps, so the figures can be summed over workers."""
        totals = self.accelerator.reduce(self._figures.totals().to(self.args.device), reduction="sum")
        super().log(logs | self._figures.named(totals.cpu()) | dict(self.method.figures()), start_time)
        self._figures = StepFigures(self.method.objectives)

    # Checkpoints hold the trained parameters only, whole; under FSDP each worker adds its slices of the optimiser state.

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        assert output_dir is not None
        save_trained(self.model, output_dir, keep=self.args.should_save)
        if self.args.should_save:
            save_arrays(dict(self.method.state()), os.path.join(output_dir, METHOD))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_trained(self.model, resume_from_checkpoint)
        self.method.restore(load_arrays(os.path.join(resume_from_checkpoint, METHOD)))

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


def answers_of(model: nn.Module, inputs: Batch) -> Answers:
    """One forward pass."""
    likelihood: Tensor = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        completion_mask=inputs["completion_mask"],
    )
    shape = inputs["reference"].shape
    tokens = inputs["completion_mask"].sum(dim=1).view(shape)
    return Answers(likelihood.view(shape), inputs["reference"], tokens, inputs["signs"], inputs["index"])
