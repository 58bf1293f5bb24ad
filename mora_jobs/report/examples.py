"""Prompts of each class to look at, with the rollouts that are best and worst on average."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.generation.schemas import ANALYSIS, ROLLOUTS, scores_schema
from mora_jobs.generation.scores import calibrated
from mora_jobs.report.profile import ORDER
from mora_jobs.rewards.calibration import Calibration

EXAMPLES = 3  # prompts of each class


@dataclass(frozen=True)
class Response:
    """One rollout with its calibrated scores; None where a score is missing."""

    role: str
    text: str
    tokens: int
    finish: str
    scores: dict[str, float | None]


@dataclass(frozen=True)
class Example:
    """One prompt of a class: what its dimensions reach over all rollouts, and two of the rollouts."""

    id: str
    prompt: str
    label: str
    dimension: str
    active: list[str]
    reach: dict[str, float | None]
    joint: float | None
    balance: float | None
    responses: list[Response]


def examples(store: Store, names: Sequence[str], calibration: Calibration | None) -> dict[str, list[Example]]:
    """A few prompts of each class, those with the smallest ids, so that two reports of one job are equal."""
    chosen = _chosen(store)
    wanted = {row["id"] for group in chosen.values() for row in group}
    rollouts = _some(Table(store, "rollouts", ROLLOUTS), wanted)
    scores = _some(Table(store, "scores", scores_schema(list(names))), wanted)

    def example(label: str, row: Mapping[str, Any]) -> Example:
        drawn, scored = rollouts.get(row["id"], {}), scores.get(row["id"])
        return Example(
            id=row["id"],
            prompt=drawn.get("prompt", ""),
            label=label,
            dimension=row["dimension"] or "",
            active=row["active"],
            reach=dict(zip(names, row["reach"], strict=True)),
            joint=row["joint"],
            balance=row["balance"],
            responses=_responses(drawn.get("samples", []), scored, names, calibration, row["dimension"]),
        )

    return {label: [example(label, row) for row in chosen[label]] for label in ORDER if label in chosen}


def _chosen(store: Store) -> dict[str, list[dict[str, Any]]]:
    heaps: dict[str, list[dict[str, Any]]] = {}
    for row in Table(store, "analysis", ANALYSIS).rows():
        group = heaps.setdefault(row["class"], [])
        group.append(row)
        if len(group) > 64 * EXAMPLES:
            heaps[row["class"]] = heapq.nsmallest(EXAMPLES, group, key=lambda each: each["id"])
    return {label: heapq.nsmallest(EXAMPLES, group, key=lambda each: each["id"]) for label, group in heaps.items()}


def _some(table: Table, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """The rows of a few keys; stops when all are found, because a table may be long."""
    found: dict[str, dict[str, Any]] = {}
    for row in table.rows():
        if row["id"] in wanted:
            found[row["id"]] = row
            if len(found) == len(wanted):
                break
    return found


def _responses(
    samples: Sequence[Mapping[str, Any]],
    scored: Mapping[str, Any] | None,
    names: Sequence[str],
    calibration: Calibration | None,
    dimension: str | None,
) -> list[Response]:
    """The rollout that does most for the only dimension (or on average), and the one that is worst on average."""
    if not samples:
        return []
    u = np.full((len(samples), len(names)), np.nan)
    if scored is not None and calibration is not None:
        known = calibrated(dict(scored), names, calibration)[: len(samples)]
        u[: len(known)] = known
    mean = np.where(np.isnan(u).all(axis=1), np.nan, np.nansum(u, axis=1) / np.maximum(1, (~np.isnan(u)).sum(axis=1)))
    if np.isnan(mean).all():
        picked = [("a rollout", 0)]
    else:
        by = (
            mean
            if dimension is None
            else np.where(np.isnan(u[:, names.index(dimension)]), -1, u[:, names.index(dimension)])
        )
        best, worst = int(np.nanargmax(by)), int(np.nanargmin(mean))
        picked = [("best" if dimension is None else f"best in {dimension}", best)]
        picked += [("worst on average", worst)] if worst != best else []

    def response(role: str, index: int) -> Response:
        sample = samples[index]
        scores = {n: None if np.isnan(v) else float(v) for n, v in zip(names, u[index], strict=True)}
        return Response(role, sample["text"], sample["tokens"], sample["finish"], scores)

    return [response(role, index) for role, index in picked]
