"""The scoring step: a table of rollouts in, a table of raw scores out, resumable at every prompt."""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.generation.appender import Appender
from mora_jobs.generation.schemas import scores_schema
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.calibration import Calibration

if TYPE_CHECKING:
    from mora_jobs.rewards.pool import RewardPool


def score_table(store: Store, rewards: Sequence[str], name: str = "scores") -> Table:
    """The table of raw scores called `name`."""
    return Table(store, name, scores_schema(list(rewards)))


def score(
    store: Store,
    name: str,
    rollouts: Table,
    *,
    rewards: Sequence[str],
    pool: "AbstractContextManager[RewardPool]",
    on_row: Callable[[int], None] | None = None,
) -> Table:
    """Score every rollout of the prompts that the table does not hold yet, on every reward.

    A missing score is null, never 0. `pool` is of the rewards called `rewards`, and entered only if there is something to
    score. `on_row` is told the number of responses scored with each prompt.
    """
    table = score_table(store, rewards, name)
    todo = _items(rollouts, table.committed())
    first = next(todo, None)
    if first is None:
        return table  # nothing left: no reward model is loaded
    with pool as scorers, Appender(table) as rows:
        for key, scores in scorers.stream(itertools.chain([first], todo)):
            rows.add({"id": key, **scores})
            if on_row is not None:
                on_row(len(scores[rewards[0]]))
    return table


def calibrated(
    row: dict[str, list[float | None]], rewards: Sequence[str], calibration: Calibration
) -> NDArray[np.float64]:
    """u[N, K] in [0, 1] of one prompt's raw scores, NaN where a score is missing."""
    return np.stack(
        [calibration.transform(n, [math.nan if v is None else v for v in row[n]]) for n in rewards], axis=-1
    )


def _items(rollouts: Table, done: set[str]) -> Iterator[tuple[str, list[Item]]]:
    for row in rollouts.rows(["id", "prompt", "fields", "samples"]):
        if row["id"] in done:
            continue
        fields = json.loads(row["fields"])
        yield (
            row["id"],
            [
                Item(f"{row['id']}#{index}", row["prompt"], sample["text"], fields)
                for index, sample in enumerate(row["samples"])
            ],
        )
