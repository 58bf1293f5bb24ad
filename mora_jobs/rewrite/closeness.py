"""Whether a rewrite still asks what its original asks: sentence similarity, then a judge."""

from collections.abc import Mapping, Sequence

import numpy as np

from mora_jobs import api
from mora_jobs.api.rewrite import Similarity
from mora_jobs.models import fetch
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.pool import RewardPool
from mora_jobs.rewrite.candidates import Candidate
from mora_jobs.rewrite.instructions import Target

RUBRIC = (
    "The prompt is a question, the response a rewritten form of it. Would a full answer to the rewritten question also "
    "serve the need behind the original one, in the same language and about the same subject?"
)


def similarities(spec: Similarity, candidates: Sequence[Candidate], targets: Mapping[str, Target]) -> dict[str, float]:
    """Cosine of each candidate, by its id, with its original."""
    from mora_jobs.models.encoder import Encoder  # imports torch: only jobs that ask for it pay

    encoder = Encoder(fetch(spec.model).path)
    needed = sorted({candidate.target for candidate in candidates})
    originals = dict(zip(needed, encoder.encode([targets[i].prompt for i in needed]), strict=True))
    rewrites = encoder.encode([candidate.text for candidate in candidates])
    return {c.id: float(np.dot(originals[c.target], vector)) for c, vector in zip(candidates, rewrites, strict=True)}


def too_far_or_close(spec: Similarity, cosine: float) -> str | None:
    """The reason for which this similarity rejects, or None."""
    if cosine < spec.min:
        return "TooDissimilar"
    return "TooSimilar" if cosine > spec.max else None


def judged_off(
    judge: api.JudgeReward,
    credentials: Sequence[api.Credential],
    candidates: Sequence[Candidate],
    targets: Mapping[str, Target],
) -> dict[str, str | None]:
    """The verdict of the judge by candidate: IntentLost below the middle of its scale, JudgeSilent without a score."""
    reward = api.Reward(name="intent", judge=judge)
    middle = (min(judge.levels) + max(judge.levels)) / 2
    items = [Item(c.id, targets[c.target].prompt, c.text) for c in candidates]
    with RewardPool([reward], (), credentials) as pool:
        scores = pool.score(items)["intent"]
    verdicts = ("JudgeSilent" if s is None else "IntentLost" if s < middle else None for s in scores)
    return dict(zip((c.id for c in candidates), verdicts, strict=True))
