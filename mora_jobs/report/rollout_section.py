"""The part of the report about a RolloutJob: whatever its artifacts hold by now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mora_jobs import api
from mora_jobs.artifacts.document import read_json
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.generation.schemas import scores_schema
from mora_jobs.report import rollout_charts as charts
from mora_jobs.report.examples import Example, examples
from mora_jobs.report.figures import percent, plural
from mora_jobs.report.profile import Profile, profiles
from mora_jobs.report.style import Chart, colour_of
from mora_jobs.rewards.calibration import Calibration
from mora_jobs.rollout.summary import column


@dataclass(frozen=True)
class Sensitivity:
    """Single-reward prompts over a grid of the two thresholds, and along the other choices."""

    reaches: list[float]
    spreads: list[float]
    counts: dict[tuple[float, float], int]
    chosen: tuple[float, float]
    plateau: list[tuple[float | None, int]]
    chosen_plateau: float
    samples: list[tuple[int, int]]
    total: int


@dataclass(frozen=True)
class RolloutSection:
    """What the page shows of a RolloutJob; None and empty for what is not there yet."""

    status: api.RolloutStatus
    names: list[str]
    colours: dict[str, str]
    histograms: list[Chart]
    curves: list[Chart]
    plateau: dict[str, str] | None
    classes: Chart | None
    profiles: list[Profile]
    examples: dict[str, list[Example]]
    sensitivity: Sensitivity | None
    stability: dict[str, Any] | None
    lead: str


def rollout_section(job: api.RolloutJob, status: api.RolloutStatus, store: Store | None) -> RolloutSection:
    """Read the artifacts, as far as they are there."""
    names = [reward.name for reward in job.spec.rewards]
    colours = colour_of(names)
    isolation = read_json(store, "isolation.json") if store else None
    curves = (read_json(store, "curves.json") if store else None) or {}
    frozen = read_json(store, "calibration.json") if store else None
    calibration = Calibration.from_json(frozen) if frozen else None
    analysed = store is not None and isolation is not None
    drawn = []
    if curves.get("singleReward"):
        single = sum(isolation["singleReward"].values()) if isolation else 0
        drawn.append(charts.curves(curves["singleReward"], plural(single, "single-reward prompt"), colours))
    if curves.get("all"):
        drawn.append(charts.curves(curves["all"], "all prompts", colours))
    return RolloutSection(
        status=status,
        names=names,
        colours=colours,
        histograms=_histograms(job, store, colours) if store else [],
        curves=drawn,
        plateau=charts.plateau(curves["singleReward"], names) if curves.get("singleReward") else None,
        classes=charts.classes(isolation, colours) if isolation else None,
        profiles=profiles(store, names) if analysed and store else [],
        examples=examples(store, names, calibration) if analysed and store else {},
        sensitivity=_sensitivity(isolation, job.spec.isolation) if isolation else None,
        stability=isolation["sensitivity"]["stability"] if isolation else None,
        lead=_lead(isolation, names),
    )


def _histograms(job: api.RolloutJob, store: Store, colours: Mapping[str, str]) -> list[Chart]:
    if not store.exists("scores/table.json"):
        return []
    scores = Table(store, "scores", scores_schema(list(colours)))
    values = {reward.name: column(scores, reward.name) for reward in job.spec.rewards}
    if not any(np.isfinite(each).any() for each in values.values()):
        return []
    return [charts.histogram(r.name, values[r.name], colours[r.name], r.lower_is_better) for r in job.spec.rewards]


def _sensitivity(isolation: Mapping[str, Any], chosen: api.Isolation) -> Sensitivity:
    table = isolation["sensitivity"]

    def single(row: Mapping[str, Any]) -> int:
        return int(sum(row["singleReward"].values()))

    grid = table["thresholds"]
    return Sensitivity(
        reaches=sorted({row["reachThreshold"] for row in grid}),
        spreads=sorted({row["spreadThreshold"] for row in grid}),
        counts={(row["reachThreshold"], row["spreadThreshold"]): single(row) for row in grid},
        chosen=(chosen.reach_threshold, chosen.spread_threshold),
        plateau=[(row["plateauTolerance"], single(row)) for row in table["plateau"]],
        chosen_plateau=chosen.plateau_tolerance,
        samples=[(row["samples"], single(row)) for row in table["samples"]],
        total=_total(isolation),
    )


def _total(isolation: Mapping[str, Any]) -> int:
    others = isolation["multiReward"] + isolation["mixed"] + isolation["dead"]
    return int(sum(isolation["singleReward"].values()) + others)


def _lead(isolation: Mapping[str, Any] | None, names: Sequence[str]) -> str:
    """The result in a sentence."""
    if not isolation:
        return ""
    if len(names) == 1:
        return "With one reward there is nothing to isolate: no prompt counts as single-reward."
    single, total = sum(isolation["singleReward"].values()), _total(isolation)
    if not single:
        return f"None of {plural(total, 'prompt')} can earn one reward only under these thresholds."
    by = ", ".join(f"{name} {n}" for name in names if (n := isolation["singleReward"].get(name)))
    return f"{single} of {plural(total, 'prompt')} ({percent(single / total)}) can earn one reward only: {by}."
