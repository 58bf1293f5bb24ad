"""Log-probabilities under the reference model, computed once for all trainings that share it, and resumable.

A table of one row per example, with one number per response. Its name is a digest of the model, the tokenizer, the chat
template and the cut, so that another reference never reads these numbers. Every point of a weight grid and every expert of
a soup shares one table.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence

import pyarrow as pa
import torch
from torch import nn

from mora_jobs.align.batches import collate
from mora_jobs.align.tokens import Example
from mora_jobs.artifacts.manifest import KeyConflict
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table

REFERENCE = pa.schema([("id", pa.string()), ("log_probs", pa.list_(pa.float32()))])
PART_BATCHES = 16  # batches between commits


def reference_table(store: Store, *parts: str) -> Table:
    """The table for a reference that `parts` (digests and settings) identify."""
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return Table(store.child("reference"), key, REFERENCE)


def fill(examples: Sequence[Example], table: Table) -> bool:
    """Write the committed log-probabilities into the examples; True when none is missing."""
    known = {row["id"]: tuple(row["log_probs"]) for row in table.rows()}
    for example in examples:
        example.reference = known.get(example.id, ())
    return all(example.reference for example in examples)


def compute(
    model: nn.Module,
    examples: Sequence[Example],
    table: Table,
    done: Collection[str],
    *,
    batch_size: int,
    pad: int,
    device: torch.device,
    rank: int,
    world: int,
    on_batch: Callable[[int], None] = lambda examples: None,
) -> None:
    """Commit what is missing besides `done`. Batches are dealt to the workers; all of them must call this alike.

    Batches are made from all examples, by length, whatever is committed and however many workers there are: the numbers
    do not depend on where an earlier run was cut off.
    """
    todo = [batch for batch in _batches(examples, batch_size) if any(each.id not in done for each in batch)]
    # Sliced models gather their weights together, so every worker makes the same number of passes.
    rounds = -(-len(todo) // world)
    rows: list[dict[str, object]] = []
    was_training = model.training
    model.eval()
    for turn in range(rounds):
        index = turn * world + rank
        batch = todo[min(index, len(todo) - 1)]
        inputs = {name: value.to(device) for name, value in collate(batch, pad).items()}
        with torch.no_grad():
            likelihood = model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                completion_mask=inputs["completion_mask"],
            )
        if index < len(todo):
            found = zip(batch, likelihood.float().cpu().view(len(batch), -1).tolist(), strict=True)
            rows += [{"id": each.id, "log_probs": own} for each, own in found if each.id not in done]
        if len(rows) >= PART_BATCHES * batch_size:
            _commit(table, rows)
            rows = []
        on_batch(min((turn + 1) * world, len(todo)) * batch_size)
    _commit(table, rows)
    model.train(was_training)


def _commit(table: Table, rows: list[dict[str, object]]) -> None:
    """Another training of the same job may have been faster with some of them: it found the same numbers."""
    while rows:
        try:
            table.append(rows)
            return
        except KeyConflict:
            done = table.committed()
            rows = [row for row in rows if row["id"] not in done]


def _batches(examples: Sequence[Example], size: int) -> Iterator[list[Example]]:
    order = sorted(examples, key=lambda example: (example.length, example.id))
    return (order[start : start + size] for start in range(0, len(order), size))
