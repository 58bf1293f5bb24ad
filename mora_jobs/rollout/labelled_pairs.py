"""Labelled pairs, scored by the job's own rewards: what method Learned takes its weights from.

Artifacts: preferences/ (the pairs) and preference-scores/.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from mora_jobs.api.preferences import LabelledPairs
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError
from mora_jobs.generation.appender import Appender
from mora_jobs.generation.preferences import Preference, read_preferences
from mora_jobs.generation.rollouts import rollout_table
from mora_jobs.generation.scores import calibrated, score
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rewards.aggregation import Weighting
from mora_jobs.rewards.aggregation.learned import MIN_PAIRS, learn
from mora_jobs.rewards.calibration import Calibration

if TYPE_CHECKING:
    from mora_jobs.rewards.pool import RewardPool

FIELD = "spec.aggregation.preferences"


def digest_preferences(preferences: LabelledPairs) -> str:
    """Read all pairs once, so that every error shows before anything is written; their sha256."""
    content, count = hashlib.sha256(), 0
    for each in read_preferences(preferences, FIELD):
        row = [each.id, each.messages, each.chosen, each.rejected, _fields(each)]
        content.update(json.dumps(row).encode())
        count += 1
    if count < MIN_PAIRS:
        raise UserError(preferences.uri, f"has {count} pairs", f"method Learned needs {MIN_PAIRS} at least")
    return f"sha256:{content.hexdigest()}"


def learn_weights(
    preferences: LabelledPairs,
    store: Store,
    names: Sequence[str],
    calibration: Calibration,
    pool: AbstractContextManager["RewardPool"],
    reporter: Reporter,
) -> Weighting:
    """Score both answers of each pair, and fit. Raises UserError when too few pairs have all scores.

    The pairs stand in a table as if they were rollouts, so that scoring resumes as it does for those.
    """
    pairs = rollout_table(store, "preferences")
    done = pairs.committed()
    with Appender(pairs) as rows:
        for each in read_preferences(preferences, FIELD):
            if each.id not in done:
                rows.add(_row(each))
    count = reporter.counter(2 * pairs.count(), "Responses", "PreferenceScores")
    scores = score(store, "preference-scores", pairs, rewards=names, pool=pool, on_row=count)
    prompts = {row["id"]: row["prompt"] for row in pairs.rows(["id", "prompt"])}
    # In the order of ids: rows are committed as they finish, and a resumed run must show what an unbroken one shows.
    ordered = sorted(scores.rows(), key=lambda row: row["id"])
    u = np.stack([calibrated(row, names, calibration) for row in ordered])
    found = learn(names, u[:, 0] - u[:, 1], [prompts[row["id"]] for row in ordered])
    digests = {"preferences": pairs.digest(), "preference-scores": scores.digest()}
    return Weighting(found.weights, figures=found.figures, digests=digests)


def _row(preference: Preference) -> dict[str, Any]:
    answers = (preference.chosen, preference.rejected)
    return {
        "id": preference.id,
        "prompt": preference.messages[-1]["content"],
        "fields": _fields(preference),
        "samples": [{"text": text, "tokens": None, "finish": None} for text in answers],
    }


def _fields(preference: Preference) -> str:
    return json.dumps(preference.fields, ensure_ascii=False, sort_keys=True, default=str)
