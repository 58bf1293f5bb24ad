"""The sampling step: prompts in, a table of rollouts out, resumable at every prompt."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from mora_jobs import api
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.engines.base import Completion, Request, request_seed
from mora_jobs.generation.appender import Appender
from mora_jobs.generation.prompts import Prompt, fields_json
from mora_jobs.generation.schemas import ROLLOUTS

if TYPE_CHECKING:
    from mora_jobs.engines.pool import EnginePool

OnRow = Callable[[Completion], None]


def rollout_table(store: Store, name: str = "rollouts") -> Table:
    """The table of rollouts called `name`."""
    return Table(store, name, ROLLOUTS)


def sample(
    store: Store,
    name: str,
    prompts: Iterable[Prompt],
    *,
    pool: "AbstractContextManager[EnginePool]",
    sampling: api.Sampling,
    variant: int = 0,
    on_row: OnRow | None = None,
) -> Table:
    """Draw sampling.samplesPerPrompt rollouts for each prompt that the table does not hold yet.

    Prompts stream through the engines with an always full queue; a prompt's rollouts are committed together. The seed
    of a prompt depends on sampling.seed and its id alone, so a resumed run draws what an unbroken one would have drawn.
    A prompt that cannot be sampled (too long for the model) is committed with its error and no samples. `pool` is entered
    only if there is something to draw; `variant` is which of its models draws.
    """
    table = rollout_table(store, name)
    done = table.committed()
    waiting: dict[str, Prompt] = {}

    def requests() -> Iterator[Request]:
        for prompt in prompts:
            if prompt.id not in done:
                waiting[prompt.id] = prompt
                seed = request_seed(sampling.seed, prompt.id)
                yield Request(prompt.id, prompt.messages, sampling.samples_per_prompt, seed, variant)

    todo = requests()
    first = next(todo, None)
    if first is None:
        return table  # nothing left: no engine is started
    with pool as engines, Appender(table) as rows:
        for completion in engines.generate(itertools.chain([first], todo)):
            rows.add(_row(waiting.pop(completion.id), completion, sampling))
            if on_row is not None:
                on_row(completion)
    return table


def _row(prompt: Prompt, completion: Completion, sampling: api.Sampling) -> dict[str, object]:
    return {
        "id": prompt.id,
        "prompt": prompt.text,
        "fields": fields_json(prompt),
        "seed": request_seed(sampling.seed, prompt.id),
        "prompt_tokens": completion.prompt_tokens,
        "samples": [{"text": s.text, "tokens": s.tokens, "finish": s.finish} for s in completion.samples],
        "error": completion.error,
    }
