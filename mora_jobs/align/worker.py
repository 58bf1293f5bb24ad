"""What each worker of a training does, from top to bottom: tokens → reference → steps → the trained policy in the store."""

import gc
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import TrainerCallback, TrainingArguments, set_seed

from mora_jobs.align import methods
from mora_jobs.align.arguments import training_arguments
from mora_jobs.align.batches import steps_per_epoch
from mora_jobs.align.callbacks import Projections, Pulse, Refreshes, StoreSaver
from mora_jobs.align.checkpoints import Checkpoints
from mora_jobs.align.course import run_to_end
from mora_jobs.align.examples import read_examples
from mora_jobs.align.keeping import frozen_adapter
from mora_jobs.align.likelihood_passes import LikelihoodPasses, place
from mora_jobs.align.notes import Report
from mora_jobs.align.policy import load_policy
from mora_jobs.align.projections import protected_directions
from mora_jobs.align.seat import Seat
from mora_jobs.align.task import Task
from mora_jobs.align.trainer import ObjectiveTrainer
from mora_jobs.models import fetch, load_tokenizer

log = logging.getLogger(__name__)


def train_all(tasks: Sequence[Task], report: Report) -> None:
    """Train one after the other what has no result yet, until all are done or `report` answers Stop."""
    seat = Seat.here()
    for task in tasks:
        if seat.share(task.result() is not None if seat.rank == 0 else None):
            continue
        if not train(task, report):
            return
        gc.collect()
        if seat.device.type == "cuda":
            torch.cuda.empty_cache()


def train(task: Task, report: Report, callbacks: Sequence[TrainerCallback] = ()) -> bool:
    """Train until done (True), or until `report` answers Stop (False). Goes on from the newest complete checkpoint.

    Called by every worker. UserError for what the author of the job can put right.
    """
    with tempfile.TemporaryDirectory(prefix=f"mora-{task.name}-") as scratch:
        if task.sampler is not None:
            # Imported late: TRL's trainer costs seconds that other methods do without.
            from mora_jobs.align.online.worker import train_online

            return train_online(task, report, callbacks, Path(scratch))
        return _train(task, report, callbacks, Path(scratch))


def _train(task: Task, report: Report, callbacks: Sequence[TrainerCallback], scratch: Path) -> bool:
    seat = Seat.here()
    checkpoints = Checkpoints(task.store.child("checkpoints"), task.digest(), task.spec.checkpoint.keep_last)
    checkpoints.complete()  # refuses those of other settings before anything is loaded
    local = fetch(task.model)
    tokenizer = load_tokenizer(local)
    examples = read_examples(task, tokenizer)
    set_seed(task.spec.trainer.seed)
    model = load_policy(local, frozen_adapter(task, scratch), task.spec.lora, bf16=task.bf16)
    place(model, task, seat)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    method = methods.make(task.method, *task.wanted, task.spec.primary)
    passes = LikelihoodPasses(task, seat, local, pad, report)
    if method.uses_reference:
        passes.reference(model, examples)
    for objective, judge in task.margins:
        passes.margins(task.wanted[0].index(objective), judge, examples)
    examples = method.prepare(examples)
    for index, example in enumerate(examples):
        example.index = index

    pulse = Pulse(task, seat.world, seat.rank, len(examples), report)
    trainer = ObjectiveTrainer(
        model,
        TrainingArguments(**training_arguments(task, seat, scratch / "steps", _steps(task, seat, len(examples)))),
        examples=examples,
        method=method,
        gram=task.method.gram,
        control_steps=task.method.control_steps,
        pad=pad,
        callbacks=[StoreSaver(checkpoints, seat.gather), pulse, *callbacks],
    )
    if method.lag_steps is not None:
        trainer.add_callback(
            Refreshes(method.lag_steps, lambda step: passes.at_step(model, examples, step), method.refresh)
        )
    if task.protected:
        trainer.add_callback(Projections(model, protected_directions(task)))
    return run_to_end(task, seat, trainer, tokenizer, checkpoints, pulse, scratch, len(examples))


def _steps(task: Task, seat: Seat, examples: int) -> int:
    trainer = task.spec.trainer
    per_step = trainer.per_device_batch_size * trainer.gradient_accumulation * seat.world
    return trainer.max_steps or trainer.epochs * steps_per_epoch(examples, per_step)
