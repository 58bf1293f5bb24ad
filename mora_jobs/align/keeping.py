"""What a training takes up and leaves behind in the store: what was learned before, its policies, its result."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from mora_jobs.align.adapters import adapter_folder
from mora_jobs.align.policy import save_policy, trained_state
from mora_jobs.align.seat import Seat
from mora_jobs.align.soup import combine
from mora_jobs.align.task import LOG, POLICY, RESULT, Task
from mora_jobs.artifacts.document import write_json


def frozen_adapter(task: Task, scratch: Path) -> Path | None:
    """What was learned before, as one adapter folder."""
    if not task.frozen:
        return None
    combine([(adapter_folder(uri), 1.0) for uri in task.frozen], scratch / "frozen")
    return scratch / "frozen"


def snapshot(step: int) -> str:
    """Where a training keeps its policy of a step, below the training's folder."""
    return f"snapshots/step-{step:08d}"


def keep(task: Task, seat: Seat, trainer: Trainer, tokenizer: Any, path: str) -> None:
    """Write the policy as it is now to `path` below the training's folder."""
    state = trained_state(trainer.model, keep=seat.rank == 0)
    if seat.rank == 0:
        policy = trainer.accelerator.unwrap_model(trainer.model)
        with tempfile.TemporaryDirectory(prefix="mora-policy-") as folder:
            made = Path(folder) / "policy"
            save_policy(policy, state, tokenizer, made, torch.bfloat16 if task.bf16 else torch.float32)
            task.store.upload(made, path)


def hand_over(task: Task, seat: Seat, trainer: Trainer, tokenizer: Any, examples: int) -> None:
    """The trained policy, the log of all steps, and last of all the result that says that both are there."""
    keep(task, seat, trainer, tokenizer, POLICY)
    if seat.rank == 0:
        write_json(task.store, LOG, [row for row in trainer.state.log_history if "loss" in row])
        result = {"config": task.digest(), "steps": trainer.state.global_step, "pairs": examples}
        write_json(task.store, RESULT, result)
