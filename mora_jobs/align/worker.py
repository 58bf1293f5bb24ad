"""What each worker of a training does, from top to bottom: tokens → reference → steps → the trained policy in the store."""

import gc
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PrinterCallback, TrainerCallback, TrainingArguments, set_seed

from mora_jobs.align import methods, reference
from mora_jobs.align.adapters import adapter_folder
from mora_jobs.align.batches import steps_per_epoch
from mora_jobs.align.callbacks import Pulse, Refreshes, Snapshots, StoreSaver
from mora_jobs.align.checkpoints import Checkpoints
from mora_jobs.align.examples import read_examples
from mora_jobs.align.notes import Desire, Note
from mora_jobs.align.policy import Policy, load_policy, load_reference, save_policy, trained_state
from mora_jobs.align.seat import Seat
from mora_jobs.align.sharding import shard
from mora_jobs.align.soup import combine
from mora_jobs.align.task import LOG, POLICY, RESULT, Task
from mora_jobs.align.tokens import Example
from mora_jobs.align.trainer import ObjectiveTrainer
from mora_jobs.api.training import Strategy
from mora_jobs.artifacts.document import write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.models import LocalModel, fetch, load_tokenizer

log = logging.getLogger(__name__)

SHORT = 256
"""Tokens up to which attention is computed plainly on CPUs in bf16: the gradient of PyTorch's fused kernel takes five times
as long (a fifth of a step of SmolLM2-135M on 16 sequences of 88 tokens), and the scores of all pairs still fit."""

Report = Callable[[Note], Desire]


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
        return _train(task, report, callbacks, Path(scratch))


def _train(task: Task, report: Report, callbacks: Sequence[TrainerCallback], scratch: Path) -> bool:
    seat = Seat.here()
    checkpoints = Checkpoints(task.store.child("checkpoints"), task.digest(), task.spec.checkpoint.keep_last)
    checkpoints.complete()  # refuses those of other settings before anything is loaded
    local = fetch(task.model)
    tokenizer = load_tokenizer(local)
    examples = read_examples(task, tokenizer)
    set_seed(task.spec.trainer.seed)
    model = load_policy(local, _frozen_adapter(task, scratch), task.spec.lora, bf16=task.bf16)
    _place(model, task, seat)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    _reference(task, seat, local, model, examples, pad, report)
    method = methods.make(task.spec.method, *task.wanted, task.spec.primary)
    method.prepare(examples)

    pulse = Pulse(task, seat.world, seat.rank, len(examples), report)
    trainer = ObjectiveTrainer(
        model,
        _arguments(task, seat, scratch / "steps", len(examples)),
        examples=examples,
        method=method,
        gram=task.spec.method.gram,
        control_steps=task.spec.method.control_steps,
        pad=pad,
        callbacks=[StoreSaver(checkpoints, seat.gather), pulse, *callbacks],
    )
    evaluation = task.spec.evaluation
    if evaluation is not None and evaluation.every_steps is not None:
        trainer.add_callback(
            Snapshots(evaluation.every_steps, lambda step: _keep(task, seat, trainer, tokenizer, snapshot(step)))
        )
    if method.lag_steps is not None:
        trainer.add_callback(
            Refreshes(
                method.lag_steps, lambda step: _log_probs(task, seat, model, examples, pad, step), method.refresh
            )
        )
    trainer.remove_callback(PrinterCallback)
    found = checkpoints.fetch(scratch / "resumed")
    step = 0 if found is None else found[1]
    if seat.share(step) != step:  # also waits: nobody may tidy up what another is still reading
        raise RuntimeError(f"training {task.name}: the workers read checkpoints of different steps")
    pulse.begun = step
    trainer.train(resume_from_checkpoint=None if found is None else str(found[0]))
    if pulse.stopped:
        return False
    _hand_over(task, seat, trainer, tokenizer)
    if seat.rank == 0:
        checkpoints.clear()
    seat.wait()  # the next training must find the result
    return True


def _place(model: Policy, task: Task, seat: Seat) -> None:
    """Onto the worker's device, whole or in slices."""
    if task.spec.trainer.strategy is Strategy.FSDP and seat.world > 1:
        shard(model, seat.device, bf16=task.bf16)
    else:
        model.to(device=seat.device)
    if seat.device.type == "cpu" and task.bf16 and task.spec.trainer.max_length <= SHORT:
        model.set_attn_implementation("eager")


def _frozen_adapter(task: Task, scratch: Path) -> Path | None:
    """What was learned before, as one adapter folder."""
    if not task.frozen:
        return None
    combine([(adapter_folder(uri), 1.0) for uri in task.frozen], scratch / "frozen")
    return scratch / "frozen"


def _reference(
    task: Task, seat: Seat, local: LocalModel, model: Policy, pairs: list[Example], pad: int, report: Report
) -> None:
    """Reference log-probabilities of all pairs. The policy is the reference itself before its first step."""
    other = None if task.reference is None else fetch(task.reference)
    parts = (other or local).digest, *(each.digest for each in (other or local).adapters)
    table = reference.reference_table(
        Store(task.root), *parts, local.tokenizer_digest, str(local.chat_template_digest), task.pairs,
        *(() if other else task.frozen), task.spec.trainer.precision.value, str(task.spec.trainer.max_length),
    )  # fmt: skip
    done = seat.share(table.committed() if seat.rank == 0 else None)
    if all(pair.id in done for pair in pairs):
        reference.fill(pairs, table)
        return
    judge = model
    if other is not None:
        judge = load_reference(other, bf16=task.bf16)
        _place(judge, task, seat)

    def tell(done: int) -> None:
        if seat.rank == 0:
            report(Note(task.name, "Reference", min(done, len(pairs)), len(pairs)))

    with torch.autocast(seat.device.type, torch.bfloat16, enabled=task.bf16):
        reference.compute(
            judge, pairs, table, done, batch_size=task.spec.trainer.per_device_batch_size, pad=pad,
            device=seat.device, rank=seat.rank, world=seat.world, on_batch=tell,
        )  # fmt: skip
    seat.wait()
    if not reference.fill(pairs, table):
        raise RuntimeError(f"reference log-probabilities are missing in {table.store.uri}")


def _log_probs(
    task: Task, seat: Seat, model: Policy, examples: list[Example], pad: int, step: int
) -> NDArray[np.float64]:
    """[N] log-probabilities of the first response of every example under the policy at `step`, kept in the store.

    They are computed when the training is at that step; afterwards, and when it goes on after a failure, they are read.
    """
    table = reference.reference_table(Store(task.root), task.digest(), f"step-{step}")
    done = seat.share(table.committed() if seat.rank == 0 else None)
    if any(example.id not in done for example in examples):
        with torch.autocast(seat.device.type, torch.bfloat16, enabled=task.bf16):
            reference.compute(
                model, examples, table, done, batch_size=task.spec.trainer.per_device_batch_size, pad=pad,
                device=seat.device, rank=seat.rank, world=seat.world,
            )  # fmt: skip
        seat.wait()
    known = {row["id"]: row["log_probs"][0] for row in table.rows()}
    return np.array([known[example.id] for example in examples])


def _arguments(task: Task, seat: Seat, folder: Path, pairs: int) -> TrainingArguments:
    trainer = task.spec.trainer
    per_step = trainer.per_device_batch_size * trainer.gradient_accumulation * seat.world
    steps = trainer.max_steps or trainer.epochs * steps_per_epoch(pairs, per_step)
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=trainer.per_device_batch_size,
        gradient_accumulation_steps=trainer.gradient_accumulation,
        learning_rate=trainer.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(trainer.warmup_ratio * steps),
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch",
        bf16=task.bf16,
        use_cpu=seat.device.type == "cpu",
        seed=trainer.seed,
        save_strategy="steps",
        save_steps=task.spec.checkpoint.interval_steps,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
    )


def snapshot(step: int) -> str:
    """Where a training keeps its policy of a step, below the training's folder."""
    return f"snapshots/step-{step:08d}"


def _keep(task: Task, seat: Seat, trainer: ObjectiveTrainer, tokenizer: Any, path: str) -> None:
    """Write the policy as it is now to `path` below the training's folder."""
    state = trained_state(trainer.model, keep=seat.rank == 0)
    if seat.rank == 0:
        policy = trainer.accelerator.unwrap_model(trainer.model)
        with tempfile.TemporaryDirectory(prefix="mora-policy-") as folder:
            made = Path(folder) / "policy"
            save_policy(policy, state, tokenizer, made, torch.bfloat16 if task.bf16 else torch.float32)
            task.store.upload(made, path)


def _hand_over(task: Task, seat: Seat, trainer: ObjectiveTrainer, tokenizer: Any) -> None:
    """The trained policy, the log of all steps, and last of all the result that says that both are there."""
    _keep(task, seat, trainer, tokenizer, POLICY)
    if seat.rank == 0:
        write_json(task.store, LOG, [row for row in trainer.state.log_history if "loss" in row])
        write_json(
            task.store,
            RESULT,
            {"config": task.digest(), "steps": trainer.state.global_step, "pairs": len(trainer.examples)},
        )
