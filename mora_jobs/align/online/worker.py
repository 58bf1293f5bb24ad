"""What each worker of an online training does, from top to bottom: prompts → groups and steps in turn → the trained policy."""

import logging
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, set_seed
from trl import GRPOConfig

from mora_jobs import api
from mora_jobs.align.adapters import adapter_folder
from mora_jobs.align.arguments import training_arguments
from mora_jobs.align.batches import steps_per_epoch
from mora_jobs.align.callbacks import Pulse, StoreSaver
from mora_jobs.align.checkpoints import Checkpoints
from mora_jobs.align.course import run_to_end
from mora_jobs.align.keeping import frozen_adapter
from mora_jobs.align.likelihood_passes import place
from mora_jobs.align.notes import Report
from mora_jobs.align.online.grpo import GRPO
from mora_jobs.align.online.prompts import read_committed
from mora_jobs.align.online.reference import Start, other_reference
from mora_jobs.align.online.reinforce_plus_plus import REINFORCEPlusPlus
from mora_jobs.align.online.rollouts import SYNC, Rollouts
from mora_jobs.align.online.trainer import OnlineTrainer
from mora_jobs.align.policy import load_policy, save_policy, trained_state
from mora_jobs.align.seat import Seat
from mora_jobs.align.soup import combine
from mora_jobs.align.task import Task
from mora_jobs.api import MethodName
from mora_jobs.api.online import GRPOSettings, OnlineSettings, REINFORCEPlusPlusSettings, TokenLoss
from mora_jobs.engines.prompting import Prompting, PromptRefused
from mora_jobs.errors import UserError
from mora_jobs.generation.prompts import Prompt
from mora_jobs.models import fetch, load_tokenizer

log = logging.getLogger(__name__)

LOSSES = {TokenLoss.GRPO: "grpo", TokenLoss.DAPO: "dapo", TokenLoss.DR_GRPO: "dr_grpo"}


def train_online(task: Task, report: Report, callbacks: Sequence[TrainerCallback], scratch: Path) -> bool:
    """As worker.train, for a task with a sampler. Only the first worker has engines and reward models."""
    assert task.sampler is not None
    seat, sampling, settings = Seat.here(), task.sampler.how.sampling, task.method.online or OnlineSettings()
    checkpoints = Checkpoints(task.store.child("checkpoints"), task.digest(), task.spec.checkpoint.keep_last)
    checkpoints.complete()  # refuses those of other settings before anything is loaded
    local = fetch(task.model)
    tokenizer = load_tokenizer(local)
    prompts, tokens = _prompts(task, tokenizer, sampling)
    set_seed(task.spec.trainer.seed)
    model: Any = load_policy(local, frozen_adapter(task, scratch), task.spec.lora, bf16=task.bf16)
    place(model, task, seat)
    reference: Any = Start(model)
    if task.reference is not None:
        reference = other_reference(fetch(task.reference), sampling.temperature, bf16=task.bf16)
        place(reference, task, seat)

    per_step = task.spec.trainer.examples_per_step // sampling.samples_per_prompt
    steps = _steps(task, len(prompts), per_step, settings.iterations)
    seen = len(prompts) * sampling.samples_per_prompt * settings.iterations  # responses in an epoch
    pulse = Pulse(task, seat.world, seat.rank, seen, report)

    def write_policy(path: str) -> None:
        """The policy as it is now, what was learned before in it, as one adapter."""
        with tempfile.TemporaryDirectory(prefix="mora-sync-") as folder:
            made, whole = Path(folder) / "trained", Path(folder) / "policy"
            save_policy(model, trained_state(model), tokenizer, made, torch.float32)
            if task.frozen:
                combine([*((adapter_folder(uri), 1.0) for uri in task.frozen), (made, 1.0)], whole)
            task.store.upload(whole if task.frozen else made, path)

    with ExitStack() as held:
        rollouts = Rollouts(task, prompts, write_policy, settings.sync_timeout_seconds)
        held.enter_context(rollouts)
        trainer = _trainer(
            task,
            model=model,
            arguments=_arguments(task, seat, settings, scratch / "steps", steps),
            reference=reference,
            tokenizer=tokenizer,
            order=_order(sorted(prompts), per_step, -(-steps // settings.iterations), task.spec.trainer.seed),
            encode=tokens.__getitem__,
            draw=rollouts.draw,
            seat=seat,
            callbacks=[StoreSaver(checkpoints, seat.gather), pulse, *callbacks],
        )
        ended = run_to_end(
            task, seat, trainer, tokenizer, checkpoints, pulse, scratch, len(prompts), begin=trainer.go_on_after
        )
    if ended and seat.rank == 0:
        task.store.delete(SYNC)
    return ended


def _prompts(task: Task, tokenizer: Any, sampling: api.Sampling) -> tuple[dict[str, Prompt], dict[str, list[int]]]:
    """The prompts that leave room for a response, and their tokens, by id. UserError when there is none."""
    prompting = Prompting(tokenizer, task.spec.trainer.max_length)
    prompts, tokens = {}, {}
    read = read_committed(task)
    for prompt in read:
        try:
            ids = prompting.encode(prompt.messages)
        except PromptRefused:
            continue
        if len(ids) + sampling.max_tokens <= prompting.max_model_len:
            prompts[prompt.id], tokens[prompt.id] = prompt, ids
    if not prompts:
        what = f"none of {len(read)} prompts leaves room for {sampling.max_tokens} tokens in {prompting.max_model_len}"
        raise UserError(f"training {task.name}", what, "raise trainer.maxLength, or lower sampling.maxTokens")
    if len(prompts) < len(read):
        log.warning("training %s leaves out %d prompts that are too long", task.name, len(read) - len(prompts))
    return prompts, tokens


def _steps(task: Task, prompts: int, per_step: int, iterations: int) -> int:
    trainer = task.spec.trainer
    return trainer.max_steps or trainer.epochs * steps_per_epoch(prompts, per_step) * iterations


def _order(names: list[str], per_draw: int, draws: int, seed: int) -> list[str]:
    """Ids for all draws of a training. An epoch is a random order of all prompts, filled up from its beginning."""
    order: list[str] = []
    epoch = 0
    while len(order) < draws * per_draw:
        shuffled = np.random.default_rng((seed, epoch)).permutation(len(names))
        size = steps_per_epoch(len(names), per_draw) * per_draw
        order += [names[index] for index in np.resize(shuffled, size)]
        epoch += 1
    return order[: draws * per_draw]


def _trainer(task: Task, arguments: GRPOConfig, **parts: Any) -> OnlineTrainer:
    objectives, weights = task.wanted
    parts |= {"arguments": arguments, "beta": task.method.beta, "objectives": objectives, "weights": weights}
    if task.method.name is MethodName.GRPO:
        return GRPO(order_of_rewards=(task.method.grpo or GRPOSettings()).order, **parts)
    own = task.method.reinforce_plus_plus or REINFORCEPlusPlusSettings()
    return REINFORCEPlusPlus(baseline=own.baseline, **parts)


def _arguments(task: Task, seat: Seat, settings: OnlineSettings, folder: Path, steps: int) -> GRPOConfig:
    assert task.sampler is not None
    sampling = task.sampler.how.sampling
    return GRPOConfig(
        **training_arguments(task, seat, folder, steps),
        gradient_checkpointing=False,
        num_generations=sampling.samples_per_prompt,
        max_completion_length=sampling.max_tokens,
        temperature=sampling.temperature,
        num_iterations=settings.iterations,
        epsilon=settings.clip,
        loss_type=LOSSES[settings.token_loss],
        beta=0.0,
        shuffle_dataset=False,
    )
