"""The ratings that heads of `mora fit-reward` were fitted to: what ENCORE takes their entropy from, as the paper does."""

import logging
from collections.abc import Sequence

from mora_jobs import api
from mora_jobs.models import fetch
from mora_jobs.rewards.heads import HEADS_FILE, read_document

log = logging.getLogger(__name__)


def ratings_of_heads(rewards: Sequence[api.Reward]) -> dict[str, list[int]]:
    """How often each rating was given, by name, of the rewards that are such heads.

    Left out, with a warning, is a head that recorded none: its ratings were no levels, or an older version fitted it.
    """
    found: dict[str, list[int]] = {}
    for reward in rewards:
        if reward.classifier is None:
            continue
        folder = fetch(reward.classifier.model).path
        if not (folder / HEADS_FILE).is_file():
            continue
        ratings = read_document(folder)["heads"][reward.classifier.head]["quality"].get("ratings")
        if ratings is not None:
            found[reward.name] = ratings["counts"]
        else:
            log.warning(
                "reward %r: its heads recorded no levels of ratings, so its entropy is over its outputs, which lie the "
                "closer together the less it has learned; fit it again to ratings with few levels",
                reward.name,
            )
    return found
