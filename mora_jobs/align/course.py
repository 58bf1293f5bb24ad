"""The course of a training once its trainer is made: from the newest checkpoint, step by step, to the result in the store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, Trainer

from mora_jobs.align.callbacks import Pulse, Snapshots
from mora_jobs.align.checkpoints import Checkpoints
from mora_jobs.align.keeping import hand_over, keep, snapshot
from mora_jobs.align.seat import Seat
from mora_jobs.align.task import Task


def run_to_end(
    task: Task,
    seat: Seat,
    trainer: Trainer,
    tokenizer: Any,
    checkpoints: Checkpoints,
    pulse: Pulse,
    scratch: Path,
    examples: int,
    begin: Callable[[int], None] = lambda step: None,
) -> bool:
    """Train until done (True), or until `pulse` was told to stop (False). Called by every worker.

    `begin` gets the step of the checkpoint that the training goes on from, 0 at its start.
    """
    evaluation = task.spec.evaluation
    if evaluation is not None and evaluation.every_steps is not None:
        trainer.add_callback(
            Snapshots(evaluation.every_steps, lambda step: keep(task, seat, trainer, tokenizer, snapshot(step)))
        )
    trainer.remove_callback(PrinterCallback)
    found = checkpoints.fetch(scratch / "resumed")
    step = 0 if found is None else found[1]
    if seat.share(step) != step:  # also waits: nobody may tidy up what another is still reading
        raise RuntimeError(f"training {task.name}: the workers read checkpoints of different steps")
    pulse.begun = step
    begin(step)
    trainer.train(resume_from_checkpoint=None if found is None else str(found[0]))
    if pulse.stopped:
        return False
    hand_over(task, seat, trainer, tokenizer, examples)
    if seat.rank == 0:
        checkpoints.clear()
    seat.wait()  # the next training must find the result
    return True
