"""What happens beside the steps of a training: reports, requests to save or stop, checkpoints into the store."""

import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mora_jobs.align.checkpoints import Checkpoints
from mora_jobs.align.notes import Desire, Note
from mora_jobs.align.projections import trained_module, without
from mora_jobs.align.sharding import copy_into, whole
from mora_jobs.align.task import Task

Floats = NDArray[np.float64]


class Pulse(TrainerCallback):
    """Tells the driver about every step, and does what it answers, at the same step on all workers."""

    def __init__(self, task: Task, world: int, rank: int, pairs: int, report: Callable[[Note], Desire]) -> None:
        self.stopped, self.begun = False, 0
        self._name, self._world, self._rank, self._report = task.name, world, rank, report
        trainer = task.spec.trainer
        self._epochs_per_step = trainer.per_device_batch_size * trainer.gradient_accumulation * world / pairs
        self._saved = 0

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> TrainerControl:
        if logs is None or "loss" not in logs:
            return control  # the summary at the end
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(f"training {self._name}: the loss of step {state.global_step} is {logs['loss']}")
        # Trainer sees one long epoch: the schedule repeats the pairs.
        state.log_history[-1]["epoch"] = epoch = state.global_step * self._epochs_per_step
        desire = Desire.CONTINUE
        if self._rank == 0:
            figures = {name: float(value) for name, value in logs.items() if name != "epoch"}
            desire = self._report(
                Note(
                    self._name, "Training", state.global_step, args.max_steps, epoch, figures, self._saved, self.begun
                )
            )
        desire = self._agreed(desire, args.device)
        control.should_save |= desire is not Desire.CONTINUE
        if desire is Desire.STOP and state.global_step < args.max_steps:
            self.stopped = control.should_training_stop = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._saved = state.global_step

    def _agreed(self, desire: Desire, device: torch.device) -> Desire:
        """What the first worker was told: if workers disagreed, one would wait for the others for ever."""
        if self._world == 1:
            return desire
        value = torch.tensor([int(desire)], device=device)
        dist.broadcast(value, 0)
        return Desire(int(value.item()))


class Snapshots(TrainerCallback):
    """Keeps the policy as it is every so many steps, for the curve over training (evaluation.everySteps)."""

    def __init__(self, every: int, keep: Callable[[int], None]) -> None:
        self._every, self._keep = every, keep

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Before the checkpoint of the same step, so that a resumed training never lacks one.
        if state.global_step % self._every == 0 and state.global_step < args.max_steps:
            self._keep(state.global_step)


class Refreshes(TrainerCallback):
    """Every `every` steps: keeps what the policy says of the data now, and gives the method what it said the time before."""

    def __init__(
        self, every: int, log_probs: Callable[[int], Floats], refresh: Callable[[Floats | None], None]
    ) -> None:
        self._every, self._log_probs, self._refresh = every, log_probs, refresh

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Before the checkpoint of the same step, which holds the method's new state.
        step = state.global_step
        if step % self._every or step >= args.max_steps:
            return
        if step + self._every < args.max_steps:
            self._log_probs(step)
        self._refresh(self._log_probs(step - self._every) if step > self._every else None)


class Projections(TrainerCallback):
    """Takes the protected directions out of every B, after each step: Adam's update does not stay where its gradient was."""

    def __init__(self, model: nn.Module, directions: Mapping[str, Tensor]) -> None:
        self._factors = [
            (parameter, basis.to(parameter.device))
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and (basis := directions.get(trained_module(name))) is not None
        ]
        if not self._factors:
            raise ValueError("no adapted module has protected directions")

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        with torch.no_grad():
            for parameter, basis in self._factors:
                copy_into(parameter, without(whole(parameter), basis))


class StoreSaver(TrainerCallback):
    """Brings each checkpoint from the local folder, where transformers wrote it, into the store."""

    def __init__(self, checkpoints: Checkpoints, gather: Callable[[dict[str, str]], list[dict[str, str]]]) -> None:
        self._checkpoints, self._gather = checkpoints, gather

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        assert args.output_dir is not None
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        self._checkpoints.save(folder, state.global_step, self._gather)
        shutil.rmtree(folder)
