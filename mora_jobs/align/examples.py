"""What a training is trained on: the job's pairs or pools, as far as they are about its objectives, as tokens."""

import logging
from collections import Counter
from typing import Any

from mora_jobs.align.pairs import PAIRS, POOLS
from mora_jobs.align.task import Task
from mora_jobs.align.tokens import Example, tokenize, tokenize_candidates
from mora_jobs.api.methods import PairRule
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError

log = logging.getLogger(__name__)


def read_examples(task: Task, tokenizer: Any) -> list[Example]:
    """What is trained on. UserError when nothing is left."""
    wanted = [index for index, weight in enumerate(task.weights) if weight > 0]
    read = _candidates if task.spec.pairs.rule is PairRule.POOL else _pairs
    examples, dropped = read(task, tokenizer, wanted)
    if dropped:
        log.warning("training %s leaves out %s", task.name, dict(dropped))
    return examples


def _candidates(task: Task, tokenizer: Any, wanted: list[int]) -> tuple[list[Example], Counter[str]]:
    """The candidates of all prompts. UserError when none is left."""
    table = Table(Store(task.root), "pools", POOLS)
    rows = (row | {"scores": [[own[k] for k in wanted] for own in row["scores"]]} for row in table.rows())
    examples, dropped = tokenize_candidates(rows, tokenizer, task.spec.trainer.max_length)
    if not examples:
        why = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise UserError(f"training {task.name}", f"no candidate is left ({why})", "raise trainer.maxLength")
    return examples, dropped


def _pairs(task: Task, tokenizer: Any, wanted: list[int]) -> tuple[list[Example], Counter[str]]:
    """The pairs that say something about an objective with a weight, with its signs. UserError when none is left."""
    table = Table(Store(task.root), "pairs", PAIRS)
    rows = (
        row | {name: [row[name][index] for index in wanted] for name in ("signs", "gaps")}
        for row in table.rows()
        if row["stage"] == task.stage
    )
    rows = (row for row in rows if any(row["signs"]))
    pairs, dropped = tokenize(rows, tokenizer, task.spec.trainer.max_length)
    if not pairs:
        why = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "no pair has a sign for it"
        names = ", ".join(task.wanted[0])
        raise UserError(
            f"training {task.name}",
            f"no pair is left for {names} ({why})",
            "raise trainer.maxLength or lower pairs.minGap",
        )
    return pairs, dropped
