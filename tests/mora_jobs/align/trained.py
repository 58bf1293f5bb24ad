"""What tests of trainings do with a task: train it in this process, read its log and its adapter, cut it off at a step."""

import json

import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from mora_jobs.align.notes import Desire
from mora_jobs.align.task import Task
from mora_jobs.align.worker import train


def run(task: Task, callbacks=(), report=lambda note: Desire.CONTINUE) -> list[dict[str, float]]:
    """Train; returns the log of the steps, or [] when it was stopped before the end."""
    train(task, report, callbacks)
    return json.loads(task.store.read("log.json")) if task.result() else []


def adapter(task: Task) -> dict[str, torch.Tensor]:
    return load_file(task.store.local("policy") / "adapter_model.safetensors")


class Kill(TrainerCallback):
    """Ends the training at a step, as an interrupt would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt
