"""The part of the report about an AlignmentJob: whatever its artifacts hold by now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mora_jobs import api
from mora_jobs.align.sides import SHORTCUT, Sides
from mora_jobs.artifacts.document import read_json
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError
from mora_jobs.estimators.bootstrap import mean_interval
from mora_jobs.pareto.document import from_document
from mora_jobs.pareto.front import Front
from mora_jobs.pareto.hypervolume import hypervolume
from mora_jobs.report import front_charts, gain_charts, training_charts
from mora_jobs.report.figures import between, fixed, plural, signed
from mora_jobs.report.front_charts import BASE, Policy
from mora_jobs.report.gain_charts import Gain
from mora_jobs.report.style import Chart, as_number

OVERALL = "overall"
TRAINER_STATE = "trainer_state.json"  # of a checkpoint, as transformers writes it
WRITERS = {
    Sides.SELF_GENERATED: "both the model that is aligned",
    Sides.ONE_MODEL: "both one other model",
    Sides.TWO_MODELS: "different models",
    Sides.UNKNOWN: "not known",
}
MOST_INTERVALS = 64  # policies whose means get intervals; each costs a resampling


@dataclass(frozen=True)
class Point:
    """A row of the table of policies; None where a figure is not known."""

    name: str
    values: dict[str, float | None]
    weights: dict[str, float | None]
    contribution: float | None
    on_front: bool
    knee: bool
    chosen: bool


@dataclass(frozen=True)
class Stage:
    """A column of the forgetting matrix."""

    objective: str
    before: dict[str, float | None]
    after: dict[str, float | None]


@dataclass(frozen=True)
class AlignmentSection:
    """What the page shows of an AlignmentJob; None and empty for what is not there yet."""

    status: api.AlignmentStatus
    objectives: list[str]
    """Trained on."""
    columns: list[str]
    """All rewards of the table of policies, the objectives first."""
    thresholds: dict[str, float]
    points: list[Point]
    chosen: str
    hypervolume: float | None
    base_hypervolume: float | None
    prompts: int
    left_out: int
    pairs: dict[str, Any] | None
    writers: dict[str, int]
    """Pairs by who wrote their two sides, in words."""
    shortcut: float
    """AUC of the probe that is worth a warning."""
    gains: Chart | None
    fronts: list[Chart]
    trainings: list[Chart]
    evaluations: list[Chart]
    forgetting: Chart | None
    stages: list[Stage]
    lead: str


def alignment_section(job: api.AlignmentJob, status: api.AlignmentStatus, store: Store | None) -> AlignmentSection:
    """Read the artifacts, as far as they are there."""
    document = (read_json(store, "pareto.json") if store else None) or {}
    front = _front(document)
    names = [objective.name for objective in job.spec.objectives]
    others = list(dict.fromkeys(name for p in document.get("points", []) for name in p.get("otherRewards", {})))
    stages = [stage.to_dict() for stage in status.stages] or document.get("stages", [])
    base = next((p for p in document.get("points", []) if p["name"] == BASE), None)
    pairs = document.get("pairs") or (read_json(store, "pairs.json") if store else None)
    gains = [Gain.of(o.name, o.points, *(o.ci or ())) for o in status.objectives]
    return AlignmentSection(
        status=status,
        objectives=names,
        columns=[*names, *others],
        thresholds=document.get("thresholds", {}),
        points=_points(document),
        chosen=document.get("chosen", ""),
        hypervolume=as_number(document.get("hypervolume")),
        base_hypervolume=_base_volume(front, document),
        prompts=len(document.get("prompts", [])),
        left_out=document.get("promptsLeftOut", 0),
        pairs=pairs,
        writers={WRITERS[Sides(who)]: count for who, count in (pairs or {}).get("sides", {}).items() if count},
        shortcut=SHORTCUT,
        gains=gain_charts.intervals({"": gains}, "points of 100", digits=1),
        fronts=_fronts(front, document),
        trainings=training_charts.trainings(_histories(store)) if store else [],
        evaluations=_evaluations(document, [*names, *others], base),
        forgetting=training_charts.forgetting(stages),
        stages=[Stage(s["objective"], *(_numbers(s.get(side, {})) for side in ("before", "after"))) for s in stages],
        lead=_lead(gains, document, _base_volume(front, document)),
    )


def _front(document: Mapping[str, Any]) -> Front | None:
    """The front with its per-prompt values; None where there is none, or where a value is missing."""
    if not document:
        return None
    try:
        return from_document(document, "pareto.json")
    except UserError:
        return None  # the table shows what is there


def _points(document: Mapping[str, Any]) -> list[Point]:
    return [
        Point(
            name=point["name"],
            values=_numbers(point["values"] | point.get("otherRewards", {})),
            weights=_numbers(point.get("weights", {})),
            contribution=as_number(point.get("contribution")),
            on_front=bool(point.get("onFront")),
            knee=point["name"] == document.get("knee"),
            chosen=point["name"] == document.get("chosen"),
        )
        for point in document.get("points", [])
    ]


def _fronts(front: Front | None, document: Mapping[str, Any]) -> list[Chart]:
    if front is None or len(front.objectives) < 2:
        return []
    members = {point["name"] for point in document["points"] if point.get("onFront")}
    names = front.objectives
    policies = [
        Policy(
            name=name,
            values=dict(zip(names, front.values[index].tolist(), strict=True)),
            on_front=name in members,
            knee=name == document.get("knee"),
            intervals=_intervals(front, index),
        )
        for index, name in enumerate(front.points)
    ]
    drawn = front_charts.planes(policies, names)
    if len(names) == 3:
        drawn.append(front_charts.space(policies, names))
    if len(names) >= 3:
        drawn.append(front_charts.parallel(policies, names))
    return drawn


def _intervals(front: Front, index: int) -> dict[str, tuple[float, float]] | None:
    """95 % over prompts of each mean, None without per-prompt values or for a single prompt."""
    if front.per_prompt is None or len(front.prompts) < 2 or len(front.points) > MOST_INTERVALS:
        return None
    found = [mean_interval(front.per_prompt[index, :, column]) for column in range(len(front.objectives))]
    if not all(np.isfinite([each.low, each.high]).all() for each in found):
        return None
    return {name: (each.low, each.high) for name, each in zip(front.objectives, found, strict=True)}


def _base_volume(front: Front | None, document: Mapping[str, Any]) -> float | None:
    """Hypervolume of the model before alignment, against the same reference point."""
    if front is None or BASE not in front.points or "referencePoint" not in document:
        return None
    return hypervolume(front.values[[front.points.index(BASE)]], document["referencePoint"])


def _histories(store: Store) -> dict[str, Sequence[Mapping[str, Any]]]:
    """The logged steps of every training by its name; of one that still runs, those up to its newest checkpoint."""
    logs: dict[str, str] = {}
    states: dict[str, str] = {}
    for path in sorted(store.list("trainings")):
        _, training, *below = path.split("/")
        if below == ["log.json"]:
            logs[training] = path
        elif path.endswith(f"/{TRAINER_STATE}"):
            states[training] = path  # sorted: that of a later checkpoint comes later
    return {
        name: (read_json(store, logs[name]) or []) if name in logs else _steps(read_json(store, states[name]) or {})
        for name in sorted(logs | states)
    }


def _steps(state: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [row for row in state.get("log_history", []) if "loss" in row]


def _evaluations(document: Mapping[str, Any], rewards: Sequence[str], base: Mapping[str, Any] | None) -> list[Chart]:
    before = {} if base is None else base["values"] | base.get("otherRewards", {})
    curve = document.get("curve", [])
    drawn = [training_charts.evaluations(curve, name, as_number(before.get(name))) for name in rewards]
    return [each for each in drawn if each is not None]


def _numbers(values: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: as_number(value) for name, value in values.items()}


def _lead(gains: Sequence[Gain], document: Mapping[str, Any], before: float | None) -> str:
    """The result in a sentence or two."""
    if not document:
        return ""
    shown = [gain for gain in gains if gain.name == OVERALL] or list(gains[:1])
    parts = []
    if shown and shown[0].value is not None:
        gain = shown[0]
        parts.append(
            f"{document.get('chosen') or 'The policy'} scores {signed(gain.value, 1)} points of 100 "
            f"{between(gain.low, gain.high, 1)} {'overall' if gain.name == OVERALL else 'on ' + gain.name} "
            "against the model before."
        )
        if gain.low is not None and gain.verdict == "quiet":
            parts.append("The interval holds 0: no gain is shown.")
    trained = sum(point["name"] != BASE for point in document["points"])
    if trained > 1 and before is not None:
        parts.append(
            f"The front of {plural(trained, 'policy', 'policies')} and the model before has hypervolume "
            f"{fixed(document['hypervolume'])}; the model before alone has {fixed(before)}."
        )
    return " ".join(parts).replace("  ", " ")
