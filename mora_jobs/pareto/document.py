"""pareto.json: the points of an alignment job as `mora pareto` reads them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mora_jobs.errors import UserError
from mora_jobs.estimators.bootstrap import known
from mora_jobs.pareto.dominance import Floats
from mora_jobs.pareto.front import Assessment, Front


def to_document(
    front: Front, assessment: Assessment, reference: Floats, details: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """All points with their per-prompt values, in JSON types; NaN becomes null.

    {objectives, referencePoint, hypervolume, knee, points: [{name, values: {objective: v}, onFront, contribution,
    …details[name]}], prompts: [id], perPrompt: {name: [[K values] per prompt]}}.  details: further fields by point, such
    as weights and checkpoint (its folder beside pareto.json).
    """
    members = set(assessment.members)
    points = [
        {
            "name": name,
            "values": dict(zip(front.objectives, front.values[index].tolist(), strict=True)),
            "onFront": index in members,
            "contribution": float(assessment.contributions[index]),
            **(details or {}).get(name, {}),
        }
        for index, name in enumerate(front.points)
    ]
    document: dict[str, Any] = {
        "objectives": list(front.objectives),
        "referencePoint": np.asarray(reference).tolist(),
        "hypervolume": assessment.hypervolume,
        "knee": None if assessment.knee is None else front.points[assessment.knee],
        "points": points,
    }
    if front.per_prompt is not None:
        rows = {
            name: [[known(v) for v in row] for row in front.per_prompt[index].tolist()]
            for index, name in enumerate(front.points)
        }
        document |= {"prompts": list(front.prompts), "perPrompt": rows}
    return document


def from_document(document: Any, name: str) -> Front:
    """The front in a pareto.json, or in the `status.pareto` of an AlignmentJob (values may be strings, no per-prompt).

    UserError that names what is missing or has the wrong form; `name` is the file or job for that message.
    """
    try:
        objectives = tuple(str(objective) for objective in document["objectives"])
        listed = document["points"] if "points" in document else document["front"]
        points = tuple(str(point["name"]) for point in listed)
        rows = [[float(point["values"][objective]) for objective in objectives] for point in listed]
        prompts = tuple(str(prompt) for prompt in document.get("prompts", ()))
        per_prompt = _per_prompt(document["perPrompt"], points) if "perPrompt" in document else None
        values = np.asarray(rows, dtype=np.float64).reshape(len(points), len(objectives))
        if not objectives or not np.isfinite(values).all():
            raise ValueError("objectives are missing" if not objectives else "a value is not finite")
        return Front(name, objectives, points, values, prompts if per_prompt is not None else (), per_prompt)
    except KeyError as error:
        raise UserError(name, f"is not a front: {error.args[0]} is missing", _TODO) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(name, f"is not a front: {error}", _TODO) from error


_TODO = "give a pareto.json or the workdir of an AlignmentJob"


def _per_prompt(rows: Mapping[str, Any], points: tuple[str, ...]) -> Floats:
    return np.asarray([[[math.nan if v is None else float(v) for v in row] for row in rows[p]] for p in points])
