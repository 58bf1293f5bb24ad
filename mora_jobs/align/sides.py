"""Who wrote the two sides of the pairs, and what is warned of before training.

"More is Less" (arXiv 2504.02193): for safety, pairs whose two sides the aligned model sampled itself beat pairs whose chosen
side comes from a stronger model or from several; those raise general scores, and the rate of successful attacks with them.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from mora_jobs import api
from mora_jobs.align.pools import RolloutSource

SHORTCUT = 0.9
"""AUC of the probe from which on a shortcut is warned of [our choice]."""


class Sides(StrEnum):
    """Where the two sides of a pair come from."""

    SELF_GENERATED = "SelfGenerated"
    """Both were sampled from the model that is aligned."""
    ONE_MODEL = "OneModel"
    """Both come from one other model."""
    TWO_MODELS = "TwoModels"
    """They come from different models."""
    UNKNOWN = "Unknown"
    """Given, without a word about who wrote them."""


def sides_of_rollouts(spec: api.AlignmentSpec, source: RolloutSource) -> Sides:
    """The rollouts of one job are all of one model."""
    sampled = source.job.spec.model
    same = (sampled.uri, sampled.revision) == (spec.model.uri, spec.model.revision)
    return Sides.SELF_GENERATED if same else Sides.ONE_MODEL


def warnings(spec: api.AlignmentSpec, sources: list[RolloutSource], account: Mapping[str, Any]) -> Iterator[str]:
    """One line for each thing about the pairs that may spoil the training; `account` is what pairs.json holds."""
    for source in sources:
        if sides_of_rollouts(spec, source) is not Sides.SELF_GENERATED:
            yield (
                f"both sides of the pairs of RolloutJob/{source.name} were sampled from {source.job.spec.model.uri}, but "
                f"{spec.model.uri} is aligned: they are off-policy"
            )
    sides = account["sides"]
    mixed, given = sides.get(Sides.TWO_MODELS, 0), sides.get(Sides.TWO_MODELS, 0) + sides.get(Sides.ONE_MODEL, 0)
    if mixed:
        yield (
            f"chosen and rejected come from different models in {mixed / given:.0%} of the given pairs that name both: what "
            "tells the models apart may be learned; for safety, sample both sides from the model that is aligned "
            "(arXiv 2504.02193)"
        )
    for name, found in account["separability"].items():
        if found["auc"] >= SHORTCUT:
            yield (
                f"a linear probe on words and length alone tells preferred responses on {name} from the others (AUC "
                f"{found['auc']:.2f} over {found['pairs']} pairs): a shortcut may be learned"
            )
