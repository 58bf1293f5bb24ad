"""Batches of pairs: which pairs come together at which step, and how they are padded.

The order is a function of the lengths, the seed and the sizes alone. A step takes the same pairs whether its
micro-batches are dealt to one worker or to many, so a run on W workers with accumulation G equals one on W' workers with
accumulation G' wherever W·G = W'·G'.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from mora_jobs.align.tokens import Example

WINDOW_STEPS = (
    50  # steps that are sorted by length together: long enough for full batches, short enough to stay random
)


def steps_per_epoch(pairs: int, pairs_per_step: int) -> int:
    """Optimiser steps in which every pair is seen at least once."""
    return -(-pairs // pairs_per_step)


class Schedule(Sampler[list[int]]):
    """The micro-batches of one worker for a whole training, as lists of indices of pairs.

    An epoch is a random order of all pairs, filled up from its own beginning to whole steps. Within windows of
    WINDOW_STEPS steps pairs are sorted by length and cut into micro-batches, so that little is padded, and the
    micro-batches are shuffled, so that length says nothing about the step.
    """

    def __init__(
        self, lengths: Sequence[int], micro_batch: int, micro_batches: int, steps: int, seed: int,
        rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        """`micro_batches` per step are those of all workers together; a multiple of `world`."""
        if micro_batches % world:
            raise ValueError(f"{micro_batches} micro-batches cannot be dealt to {world} workers")
        self.lengths = np.asarray(lengths)
        self.micro_batch, self.micro_batches, self.steps, self.seed = micro_batch, micro_batches, steps, seed
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return self.steps * self.micro_batches // self.world

    def __iter__(self) -> Iterator[list[int]]:
        return (batch for index, batch in enumerate(self._all()) if index % self.world == self.rank)

    def _all(self) -> Iterator[list[int]]:
        per_step = self.micro_batch * self.micro_batches
        left, epoch = self.steps * self.micro_batches, 0
        while left > 0:
            random = np.random.default_rng((self.seed, epoch))
            count = len(self.lengths)
            order = np.resize(random.permutation(count), steps_per_epoch(count, per_step) * per_step)
            for start in range(0, len(order), per_step * WINDOW_STEPS):
                window = order[start : start + per_step * WINDOW_STEPS]
                window = window[np.argsort(self.lengths[window], kind="stable")]
                batches = window.reshape(-1, self.micro_batch)
                for batch in batches[random.permutation(len(batches))][:left]:
                    yield batch.tolist()
                left -= len(batches)
                if left <= 0:
                    return
            epoch += 1


def collate(examples: Sequence[Example], pad: int) -> dict[str, Any]:
    """Right-padded tensors of B examples with R responses each: row R·i + j is response j of example i.

    input_ids, attention_mask [B·R, T]; completion_mask [B·R, T] is 1 on response tokens; signs [B, K]; reference [B, R];
    index [B].
    """
    sequences = [(example.prompt, response) for example in examples for response in example.responses]
    width = max(len(prompt) + len(response) for prompt, response in sequences)
    shape = (len(sequences), width)
    ids = torch.full(shape, pad, dtype=torch.long)
    attention, completion = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.bool)
    for row, (prompt, response) in enumerate(sequences):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor(prompt + response)
        attention[row, :end] = 1
        completion[row, len(prompt) : end] = True
    return {
        "input_ids": ids,
        "attention_mask": attention,
        "completion_mask": completion,
        "signs": torch.tensor([example.signs for example in examples], dtype=torch.float32),
        "reference": torch.tensor([example.reference for example in examples], dtype=torch.float32),
        "index": torch.tensor([example.index for example in examples]),
    }
