"""Which prompts are rewritten: the single-reward ones, or as many others for control Random."""

import random
from collections.abc import Mapping, Sequence

from mora_jobs.api.rewrite import Control, RewriteSpec
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.generation.prompts import Prompt
from mora_jobs.generation.schemas import ANALYSIS, SINGLE_REWARD
from mora_jobs.rewrite.instructions import Target


def find_targets(
    spec: RewriteSpec, source: Store, prompts: Mapping[str, Prompt], dimensions: Sequence[str], seed: int
) -> list[Target]:
    """The prompts to rewrite, in the order of their ids.

    Control Random takes as many prompts of other classes, drawn by `seed`; they have no dimension of their own, so all
    dimensions that are not active count as missing (all of them where every one is active).
    """
    rows = sorted(
        Table(source, "analysis", ANALYSIS).rows(["id", "class", "dimension", "active"]), key=lambda r: r["id"]
    )
    rows = [row for row in rows if row["id"] in prompts]
    single = [row for row in rows if row["class"] == SINGLE_REWARD]
    if spec.control is Control.RANDOM:
        others = [row for row in rows if row["class"] != SINGLE_REWARD]
        chosen = random.Random(seed).sample(others, min(len(single), len(others)))
        single = sorted(chosen, key=lambda row: row["id"])
    targets = []
    for row in single:
        carried = set(row["active"]) if row["dimension"] is None else {row["dimension"]}
        missing = tuple(name for name in dimensions if name not in carried) or tuple(dimensions)
        targets.append(Target(row["id"], prompts[row["id"]].text, row["dimension"], missing))
    return targets
