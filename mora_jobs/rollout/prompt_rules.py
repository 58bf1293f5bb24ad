"""Weights of each prompt: an adapter is fitted to what the rollouts show, and asked about every prompt.

Artifacts: adapter.json and prompt-weights/.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mora_jobs import api
from mora_jobs.artifacts.document import read_json, write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.estimators.bootstrap import present_mean
from mora_jobs.generation.scores import calibrated
from mora_jobs.rewards.aggregation import Weighting
from mora_jobs.rewards.aggregation.adapter import Adapter, fit_adapter, separation
from mora_jobs.rewards.aggregation.per_prompt import ADAPTER, open_encoder, write_prompt_weights
from mora_jobs.rewards.calibration import Calibration

FIT_PROMPTS = 20_000  # an adapter is fitted to at most so many: memory, and more teach a linear map little


def weigh_prompts(
    encoder: api.ModelRef,
    rules: int,
    store: Store,
    names: Sequence[str],
    rollouts: Table,
    scores: Table,
    calibration: Calibration,
) -> Weighting:
    """Fit the adapter to the separations of this job's rollouts, and weigh all of its prompts, sampled or not."""
    texts = {row["id"]: row["prompt"] for row in rollouts.rows(["id", "prompt"])}
    opened = open_encoder(encoder)
    fitted = read_json(store, ADAPTER)
    if fitted is None:  # kept: what is resumed must not rest on another fit
        distinct, separations = _separations(texts, names, scores, calibration)
        fitted = fit_adapter(names, opened.encode(distinct), separations, rules).to_json()
        write_json(store, ADAPTER, fitted)
    adapter = Adapter.from_json(fitted)
    table = write_prompt_weights(store, adapter, opened, texts.items())
    mean = np.mean([row["weights"] for row in table.rows(["id", "weights"])], axis=0)
    weights = dict(zip(names, mean.tolist(), strict=True))
    return Weighting(
        weights, figures=dict(adapter.figures), digests={"prompt-weights": table.digest()}, per_prompt=True
    )


def _separations(
    texts: dict[str, str], names: Sequence[str], scores: Table, calibration: Calibration
) -> tuple[list[str], NDArray[np.float64]]:
    """Different prompts (equal texts must not stand on both sides of a fold) and the separation [P, K] of each."""
    order = sorted(
        set(texts.values()), key=lambda text: hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    )
    chosen = set(order[:FIT_PROMPTS])
    found = {
        row["id"]: separation(calibrated(row, names, calibration))
        for row in scores.rows()
        if texts[row["id"]] in chosen
    }
    by_text: dict[str, list[NDArray[np.float64]]] = {}
    for key in sorted(found):  # not as they were committed: a resumed run must show what an unbroken one shows
        by_text.setdefault(texts[key], []).append(found[key])
    means = [present_mean(each) for each in by_text.values()]
    return list(by_text), np.array(means).reshape(len(means), len(names))
