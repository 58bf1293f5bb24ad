"""What spec.trainer means for transformers' trainers."""

from pathlib import Path
from typing import Any

from mora_jobs.align.seat import Seat
from mora_jobs.align.task import Task


def training_arguments(task: Task, seat: Seat, folder: Path, steps: int) -> dict[str, Any]:
    """Members of TrainingArguments for a training of so many optimiser steps."""
    trainer = task.spec.trainer
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": trainer.per_device_batch_size,
        "gradient_accumulation_steps": trainer.gradient_accumulation,
        "learning_rate": trainer.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(trainer.warmup_ratio * steps),
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch",
        "bf16": task.bf16,
        "use_cpu": seat.device.type == "cpu",
        "seed": trainer.seed,
        "save_strategy": "steps",
        "save_steps": task.spec.checkpoint.interval_steps,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,
    }
