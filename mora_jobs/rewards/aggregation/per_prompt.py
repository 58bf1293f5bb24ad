"""From prompts' texts to their own weights, by an adapter that was fitted before; resumable at every part."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mora_jobs import api
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.models import fetch
from mora_jobs.rewards.aggregation.adapter import Adapter
from mora_jobs.rewards.aggregation.weights import prompt_weights_table

if TYPE_CHECKING:
    from mora_jobs.models.encoder import Encoder

ADAPTER = "adapter.json"
BATCH = 1024  # prompts: bounds memory at any number of them


def open_encoder(spec: api.ModelRef) -> "Encoder":
    """The sentence encoder of spec.aggregation.encoder. Raises UserError when it cannot be had."""
    from mora_jobs.models.encoder import Encoder  # imports torch: only jobs that ask for it pay

    return Encoder(fetch(spec).path)


def write_prompt_weights(
    store: Store, adapter: Adapter, encoder: "Encoder", prompts: Iterable[tuple[str, str]]
) -> Table:
    """Weigh the (id, text) that the table in `store` does not hold yet."""
    table = prompt_weights_table(store)
    done = table.committed()
    waiting = [(key, text) for key, text in prompts if key not in done]
    for start in range(0, len(waiting), BATCH):
        part = waiting[start : start + BATCH]
        predicted = adapter.predict(encoder.encode([text for _, text in part]))
        weights = adapter.weights(predicted)
        table.append(
            [
                {"id": key, "weights": weights[row].tolist(), "predicted": predicted[row].tolist()}
                for row, (key, _) in enumerate(part)
            ]
        )
    return table
