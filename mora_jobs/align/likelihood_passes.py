"""Passes over all examples of a training, without gradients: under the reference, under other policies, on the way."""

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from mora_jobs import api
from mora_jobs.align import reference
from mora_jobs.align.notes import Note, Report
from mora_jobs.align.policy import Policy, load_reference
from mora_jobs.align.seat import Seat
from mora_jobs.align.sharding import shard
from mora_jobs.align.task import Task
from mora_jobs.align.tokens import Example
from mora_jobs.api.training import Strategy
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.models import LocalModel, fetch

SHORT = 256
"""Tokens up to which attention is computed plainly on CPUs in bf16: the gradient of PyTorch's fused kernel takes five times
as long (a fifth of a step of SmolLM2-135M on 16 sequences of 88 tokens), and the scores of all pairs still fit."""


def place(model: Policy, task: Task, seat: Seat) -> None:
    """Onto the worker's device, whole or in slices."""
    if task.spec.trainer.strategy is Strategy.FSDP and seat.world > 1:
        shard(model, seat.device, bf16=task.bf16)
    else:
        model.to(device=seat.device)
    if seat.device.type == "cpu" and task.bf16 and task.spec.trainer.max_length <= SHORT:
        model.set_attn_implementation("eager")


class LikelihoodPasses:
    """Log-probabilities of the examples' responses, kept as tables in the store, so that no pass is made twice."""

    def __init__(self, task: Task, seat: Seat, start: LocalModel, pad: int, report: Report) -> None:
        self._task, self._seat, self._start, self._pad, self._report = task, seat, start, pad, report

    def reference(self, policy: Policy, examples: list[Example]) -> None:
        """Fill in the examples' reference. The policy is the reference itself before its first step."""
        other = self._task.reference
        table = self._under_start(policy, examples) if other is None else self._under(other, examples)
        if not reference.fill(examples, table):
            raise RuntimeError(f"reference log-probabilities are missing in {table.store.uri}")

    def margins(self, column: int, judge: api.ModelRef, examples: list[Example]) -> None:
        """Write β·(log-ratio of the first response less that of the second) of `judge` into a column of the margins.

        That is the reward that a policy trained by DPO implies (arXiv 2305.18290, Eq. 5), up to a term of the prompt.
        """
        known = {row["id"]: row["log_probs"] for row in self._under(judge, examples).rows()}
        for example in examples:
            own = np.subtract(known[example.id], example.reference)
            margins = list(example.margins)
            margins[column] = self._task.method.beta * float(own[0] - own[1])
            example.margins = tuple(margins)

    def at_step(self, policy: Policy, examples: list[Example], step: int) -> NDArray[np.float64]:
        """[N] log-probabilities of the first response of every example under the policy of `step`.

        They are computed when the training is at that step; afterwards, and when it goes on after a failure, they are read.
        """
        table = reference.reference_table(Store(self._task.root), self._task.digest(), f"step-{step}")
        self._compute(policy, examples, table, told=False)  # the steps tell how far the training is
        known = {row["id"]: row["log_probs"][0] for row in table.rows()}
        return np.array([known[example.id] for example in examples])

    def _under_start(self, policy: Policy, examples: list[Example]) -> Table:
        table = self._table(self._start, *self._task.frozen)
        self._compute(policy, examples, table)
        return table

    def _under(self, other: api.ModelRef, examples: list[Example]) -> Table:
        local = fetch(other)
        table = self._table(local)
        if self._missing(examples, table):
            model: PreTrainedModel = load_reference(local, bf16=self._task.bf16)
            place(model, self._task, self._seat)
            self._compute(model, examples, table)
        return table

    def _table(self, judge: LocalModel, *frozen: str) -> Table:
        task, start = self._task, self._start
        return reference.reference_table(
            Store(task.root), judge.digest, *(each.digest for each in judge.adapters), start.tokenizer_digest,
            str(start.chat_template_digest), task.pairs, *frozen, task.spec.trainer.precision.value,
            str(task.spec.trainer.max_length),
        )  # fmt: skip

    def _missing(self, examples: list[Example], table: Table) -> frozenset[str]:
        """Ids that the table lacks, the same for all workers: they look at the store at different moments."""
        done = self._seat.share(table.committed() if self._seat.rank == 0 else None)
        return frozenset(example.id for example in examples) - frozenset(done)

    def _compute(self, model: Policy, examples: list[Example], table: Table, told: bool = True) -> None:
        missing = self._missing(examples, table)
        if not missing:
            return
        task, seat = self._task, self._seat

        def tell(done: int) -> None:
            if told and seat.rank == 0:
                self._report(Note(task.name, "Reference", min(done, len(examples)), len(examples)))

        with torch.autocast(seat.device.type, torch.bfloat16, enabled=task.bf16):
            reference.compute(
                model, examples, table, {example.id for example in examples} - missing,
                batch_size=task.spec.trainer.per_device_batch_size, pad=self._pad, device=seat.device, rank=seat.rank,
                world=seat.world, on_batch=tell,
            )  # fmt: skip
        seat.wait()
