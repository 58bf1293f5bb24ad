"""The weights of a finished rollout job, for one prompt at a time, and the score that they make.

Artifacts: weights.json ({method, weights: their mean over prompts, …}), and prompt-weights/ where each prompt has its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from mora_jobs.artifacts.document import read_json, write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError

Floats = NDArray[np.float64]
PromptWeights = Callable[[str], Floats]
"""From the id of a prompt to the weights [K] of the rewards, ≥ 0 and summing to 1."""

WEIGHTS = "weights.json"
# `predicted`: how far the adapter expects each reward to tell the prompt's answers apart. Both in the order of spec.rewards.
PROMPT_WEIGHTS = pa.schema(
    [("id", pa.string()), ("weights", pa.list_(pa.float64())), ("predicted", pa.list_(pa.float64()))]
)


@dataclass(frozen=True)
class Weighting:
    """`weights` by reward (of methods that weigh prompts apart: their mean over prompts), summing to 1."""

    weights: dict[str, float]
    entropies: dict[str, float | None] = field(default_factory=dict)
    """What the weights were taken from, in nats; None: the reward does not vary."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What the method measured of itself."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of the tables that it made."""
    per_prompt: bool = False
    """Whether prompt-weights/ has weights of each prompt."""

    def write(self, store: Store, method: str) -> None:
        """Write weights.json."""
        document = {
            "method": method,
            "rewards": list(self.weights),
            "weights": self.weights,
            "perPrompt": self.per_prompt,
            "entropies": self.entropies,
            "figures": self.figures,
        }
        write_json(store, WEIGHTS, document)


def prompt_weights_table(store: Store) -> Table:
    """The weights of single prompts; only methods that weigh prompts apart have rows in it."""
    return Table(store, "prompt-weights", PROMPT_WEIGHTS)


def weights_for(store: Store, rewards: Sequence[str], rewrites: Store | None = None) -> PromptWeights:
    """The weights of each prompt of the finished RolloutJob in `store`, in the order of `rewards`, all of its rewards.

    `rewrites`: of the RewriteJob in that store, whose new texts have weights of their own; prompts that it left alone
    keep theirs. A method with one set of weights gives it for every id. Raises UserError when the weights are not there,
    and the function that is returned for an id that the job does not know.
    """
    document = read_json(store, WEIGHTS)
    if document is None:
        raise UserError(f"{store.uri}/{WEIGHTS}", "is not there", "let the rollout job finish first")
    order = list(document["weights"])
    if sorted(order) != sorted(rewards):
        raise UserError(f"{store.uri}/{WEIGHTS}", f"has weights of {', '.join(order)}, not of {', '.join(rewards)}")
    if not document.get("perPrompt"):
        everywhere = np.array([document["weights"][name] for name in rewards])
        return lambda _: everywhere
    columns = [document["rewards"].index(name) for name in rewards]
    found: dict[str, Floats] = {}
    for each in (store, rewrites):
        if each is not None:
            rows = prompt_weights_table(each).rows(["id", "weights"])
            found |= {row["id"]: np.array(row["weights"])[columns] for row in rows}

    def of_prompt(prompt: str) -> Floats:
        if prompt not in found:
            raise UserError(f"{store.uri}/prompt-weights", f"has no prompt {prompt!r}")
        return found[prompt]

    return of_prompt


def overall(u: ArrayLike, weight: Mapping[str, float] | ArrayLike) -> Floats:
    """Σ w_k u_k over the last axis of u[..., K]; a mapping's order is that of the axis.

    NaN where a reward with a weight is missing: a missing score must not look like a low one.
    """
    w = np.asarray(list(weight.values()) if isinstance(weight, Mapping) else weight, dtype=np.float64)
    scores = np.asarray(u, dtype=np.float64)
    return np.asarray(scores[..., w > 0] @ w[w > 0])
