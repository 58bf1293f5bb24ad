"""TRL's GRPOTrainer with our engines, rewards, advantages and checkpoints.

TRL brings the schedule of prompts and iterations, the clipped loss and its averaging over tokens, the KL estimate and the
log-probabilities in tiles. Of its advantages we make no use: where a score is missing it takes 0 for it, which is the worst
there is on a calibrated scale.
"""

import os
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor, nn
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from mora_jobs.align.online.rollouts import Drawn, Group
from mora_jobs.align.policy import load_trained, save_trained
from mora_jobs.align.seat import Seat

SHOWN = {
    "kl": "kl",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_share",
    "completions/mean_length": "response_tokens",
    "completions/clipped_ratio": "cut_share",
}
"""Of TRL's figures, those that are logged, and what they are called here."""
Floats = NDArray[np.float64]
Batch = dict[str, Any]


class OnlineTrainer(GRPOTrainer):
    """Trains on groups of responses that `draw` samples and scores; a subclass says what their advantages are."""

    def __init__(
        self,
        model: PeftModel,
        arguments: GRPOConfig,
        *,
        beta: float,
        reference: Callable[..., Any],
        tokenizer: Any,
        objectives: tuple[str, ...],
        weights: tuple[float, ...],
        order: Sequence[str],
        encode: Callable[[str], list[int]],
        draw: Callable[[int, Sequence[str]], Drawn],
        seat: Seat,
        callbacks: list[TrainerCallback],
    ) -> None:
        """`order`: ids of the prompts in the order of the training; `encode` gives a prompt's tokens by its id; `draw` is
        called by the first worker only. `arguments.beta` is 0: TRL would make a reference of its own."""
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is marked so
        super().__init__(
            model=model,
            reward_funcs=[_column(name, index) for index, name in enumerate(objectives)],
            args=arguments,
            train_dataset=Dataset.from_dict({"prompt": list(order)}),
            processing_class=tokenizer,
            rollout_func=self._roll,
            callbacks=callbacks,
        )
        self.beta, self.ref_model = beta, reference
        self.objectives, self.weights = objectives, np.asarray(weights, dtype=np.float64)
        self._encode, self._draw, self._seat = encode, draw, seat
        self._groups: list[Group] = []
        self._own: set[str] = set()

    @abstractmethod
    def advantages(self, batch: Batch, scores: Floats, here: slice) -> Tensor:
        """[n] or [n, T] advantages of the responses of this worker, which are `here` among all of the step.

        `batch` is what TRL made of them, `scores` [N, K] of all.
        """

    def go_on_after(self, step: int) -> None:
        """Count on from a checkpoint: TRL forgets which of the iterations on a batch it was at."""
        self._step = step * self.args.gradient_accumulation_steps

    def _roll(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        """Responses for the ids of prompts of this worker. The first worker samples for all of them together."""
        parts = self._seat.gather_all(prompts)
        everybody = [name for part in parts for name in part]
        turn = self.state.global_step // self.num_iterations
        names = everybody[:: self.num_generations]
        drawn = self._seat.share(self._draw(turn, names) if self._seat.rank == 0 else None)
        self._groups = drawn.groups
        tokens = sum(sample.tokens for group in drawn.groups for sample in group.samples)
        self._note(
            sync_seconds=drawn.sync_seconds,
            sampling_seconds=drawn.sampling_seconds,
            scoring_seconds=drawn.scoring_seconds,
            tokens_per_second=tokens / max(drawn.sampling_seconds, 1e-9),
        )
        start = sum(map(len, parts[: self._seat.rank]))
        own = [divmod(start + index, self.num_generations) for index in range(len(prompts))]
        return {
            "prompt_ids": [self._encode(name) for name in prompts],
            "completion_ids": [list(drawn.groups[group].samples[index].ids) for group, index in own],
            "logprobs": None,
            "scores": [drawn.groups[group].scores[index].tolist() for group, index in own],
        }

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        batch: Batch = super()._generate_and_score_completions(inputs)
        scores = np.concatenate([group.scores for group in self._groups])
        start = self._seat.rank * len(inputs)
        batch["advantages"] = self.advantages(batch, scores, slice(start, start + len(inputs)))
        known = (~np.isnan(scores)).sum(axis=0)
        for index, name in enumerate(self.objectives):
            if known[index]:
                self._note(**{f"reward/{name}": float(np.nanmean(scores[:, index]))})
        if not known.all() or known.min() < len(scores):
            self._note(missing_share=1 - float(known.sum()) / scores.size)
        return batch

    def _note(self, **figures: float) -> None:
        for name, value in figures.items():
            self._metrics["train"][name].append(value)
            self._own.add(name)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's figures are many; a status has room for few."""
        found = self._metrics["train"]
        names = SHOWN | {name: name for name in self._own}
        shown = {names[name]: values for name, values in found.items() if name in names and values}
        self._metrics["train"] = defaultdict(list, shown)
        super().log(logs, start_time)

    # Checkpoints as those of other trainings: the trained parameters only.

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        assert output_dir is not None
        save_trained(self.model, output_dir, keep=self.args.should_save)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_trained(self.model, resume_from_checkpoint)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The job's report says what was done."""


def _column(name: str, index: int) -> Callable[..., list[float]]:
    """The scores of an objective, which were drawn with the responses, as TRL asks for them."""

    def reward(scores: list[list[float]], **_: Any) -> list[float]:
        return [own[index] for own in scores]

    reward.__name__ = name
    return reward
