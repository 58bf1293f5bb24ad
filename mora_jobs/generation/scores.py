"""The scoring step: a table of rollouts in, a table of raw scores out, resumable at every prompt."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mora_jobs import api
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.generation.appender import Appender
from mora_jobs.generation.schemas import scores_schema
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.calibration import Calibration

if TYPE_CHECKING:
    from mora_jobs.rewards.pool import RewardPool

# Rollouts handed to the rewards at once: enough for full batches, little enough to hold in memory.
CHUNK_ITEMS = 4096


def score_table(store: Store, rewards: Sequence[str], name: str = "scores") -> Table:
    """The table of raw scores called `name`."""
    return Table(store, name, scores_schema(list(rewards)))


def score(
    store: Store,
    name: str,
    rollouts: Table,
    *,
    rewards: Sequence[api.Reward],
    import_paths: Sequence[str] = (),
    credentials: Sequence[api.Credential] = (),
    on_row: Callable[[int], None] | None = None,
    pool: "RewardPool | None" = None,
) -> Table:
    """Score every rollout of the prompts that the table does not hold yet, on every reward.

    A missing score is null, never 0. `on_row` is told the number of responses scored with each prompt. `pool`: an open
    pool of these rewards, for who scores several tables and would else load the models for each.
    """
    names = [reward.name for reward in rewards]
    table = score_table(store, names, name)
    done = table.committed()
    chunks = _chunks(rollouts, done)
    first = next(chunks, None)
    if first is None:
        return table  # nothing left: no reward model is loaded
    # Here, because it needs Ray, and whoever only reads scores (the report) does not.
    from mora_jobs.rewards.pool import RewardPool

    opened = nullcontext(pool) if pool is not None else RewardPool(rewards, import_paths, credentials)
    with opened as scorers, Appender(table) as rows:
        chunk: list[tuple[str, list[Item]]] | None = first
        while chunk is not None:
            values = scorers.score([item for _, items in chunk for item in items])
            start = 0
            for key, items in chunk:
                rows.add({"id": key, **{n: values[n][start : start + len(items)] for n in names}})
                start += len(items)
                if on_row is not None:
                    on_row(len(items))
            chunk = next(chunks, None)
    return table


def calibrated(
    row: dict[str, list[float | None]], rewards: Sequence[str], calibration: Calibration
) -> NDArray[np.float64]:
    """u[N, K] in [0, 1] of one prompt's raw scores, NaN where a score is missing."""
    return np.stack(
        [calibration.transform(n, [math.nan if v is None else v for v in row[n]]) for n in rewards], axis=-1
    )


def _chunks(rollouts: Table, done: set[str]) -> Iterator[list[tuple[str, list[Item]]]]:
    chunk: list[tuple[str, list[Item]]] = []
    size = 0
    for row in rollouts.rows(["id", "prompt", "fields", "samples"]):
        if row["id"] in done:
            continue
        fields = json.loads(row["fields"])
        items = [
            Item(f"{row['id']}#{index}", row["prompt"], sample["text"], fields)
            for index, sample in enumerate(row["samples"])
        ]
        if chunk and size + len(items) > CHUNK_ITEMS:
            yield chunk
            chunk, size = [], 0
        chunk.append((row["id"], items))
        size += len(items)
    if chunk:
        yield chunk
