"""Two fronts side by side: hypervolume against one frozen reference, coverage both ways, intervals over prompts."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mora_jobs.errors import UserError
from mora_jobs.estimators.bootstrap import LEVEL, RESAMPLES, Interval, bounds, present_mean, resampled_means
from mora_jobs.pareto.dominance import Floats, coverage
from mora_jobs.pareto.front import Front
from mora_jobs.pareto.hypervolume import MARGIN, hypervolume, reference_point


@dataclass(frozen=True)
class Comparison:
    """Front A against front B."""

    names: tuple[str, str]
    objectives: tuple[str, ...]
    reference: Floats
    """[K] the frozen reference point of all hypervolumes here."""
    hypervolume: tuple[Interval, Interval]
    """Of A and of B."""
    difference: Interval
    """Hypervolume A − B."""
    coverage: tuple[Interval, Interval]
    """C(A, B) and C(B, A)."""
    notes: tuple[str, ...]
    """What a reader must know before believing the figures."""

    def to_json(self) -> dict[str, Any]:
        """For `mora pareto A B -o json`; bounds are null where there are no per-prompt values."""
        return {
            "fronts": list(self.names),
            "objectives": list(self.objectives),
            "referencePoint": self.reference.tolist(),
            "hypervolume": [figure.to_json() for figure in self.hypervolume],
            "difference": self.difference.to_json(),
            "coverage": [figure.to_json() for figure in self.coverage],
            "notes": list(self.notes),
        }


def compare(
    a: Front,
    b: Front,
    reference: ArrayLike | None = None,
    *,
    margin: float = MARGIN,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Comparison:
    """Compare two sets of policies on the same objectives (in any order); UserError where they do not fit.

    reference: [K] in A's order of objectives; when absent the worst values over both sets less `margin`, fixed before
    resampling.  With per-prompt values on both sides, both are restricted to the prompts they share, and the intervals
    come from resampling these prompts, the same for A and B; else every bound is NaN.  Intervals cover the choice of
    prompts, not of training seeds: run several seeds for that.
    """
    if set(a.objectives) != set(b.objectives):
        raise UserError(
            b.name,
            f"has the objectives {', '.join(b.objectives)}, but {a.name} has {', '.join(a.objectives)}",
            "compare fronts on the same objectives",
        )
    if not a.points or not b.points:
        raise UserError(b.name if a.points else a.name, "has no points")
    order = [b.objectives.index(name) for name in a.objectives]
    notes = _notes(a, b)
    paired = _paired(a, b, order, notes)
    values_a, values_b = (
        (a.values, b.values[:, order]) if paired is None else tuple(present_mean(p.swapaxes(0, 1)) for p in paired)
    )
    origin = reference_point([values_a, values_b], margin) if reference is None else np.asarray(reference, np.float64)
    if origin.shape != (len(a.objectives),):
        raise UserError("reference point", f"has {origin.size} values for {len(a.objectives)} objectives")

    value = _figures(values_a, values_b, origin)
    prompts, drawn = 0, np.full((1, len(value)), math.nan)
    if paired is not None:
        prompts = paired[0].shape[1]
        drawn = _resampled_figures(*paired, origin, resamples, seed)
    figures = [Interval(v, *bounds(drawn[:, i], prompts, level), prompts) for i, v in enumerate(value)]
    return Comparison(
        (a.name, b.name),
        a.objectives,
        origin,
        (figures[0], figures[1]),
        figures[2],
        (figures[3], figures[4]),
        tuple(notes),
    )


def _figures(a: Floats, b: Floats, origin: Floats) -> tuple[float, float, float, float, float]:
    first, second = hypervolume(a, origin), hypervolume(b, origin)
    return first, second, first - second, coverage(a, b), coverage(b, a)


def _resampled_figures(a: Floats, b: Floats, origin: Floats, resamples: int, seed: int) -> Floats:
    """[resamples, 5] figures on resampled prompts; a resample in which a mean is unknown is left out.

    a, b: [n, P, K] over the same prompts; equal P and seed give both the same resamples.
    """
    drawn_a, drawn_b = (resampled_means(part.swapaxes(0, 1), resamples, seed) for part in (a, b))
    usable = np.isfinite(drawn_a).all(axis=(1, 2)) & np.isfinite(drawn_b).all(axis=(1, 2))
    figures = [_figures(*pair, origin) for pair in zip(drawn_a[usable], drawn_b[usable], strict=True)]
    return np.asarray(figures, dtype=np.float64).reshape(-1, 5)


def _paired(a: Front, b: Front, order: list[int], notes: list[str]) -> tuple[Floats, Floats] | None:
    """Per-prompt values of both on their common prompts, [n, P, K] each, or None."""
    if a.per_prompt is None or b.per_prompt is None:
        lacking = [front.name for front in (a, b) if front.per_prompt is None]
        notes.append(f"no intervals: {' and '.join(lacking)} without per-prompt values")
        return None
    where_b = {prompt: index for index, prompt in enumerate(b.prompts)}
    shared = [(index, where_b[prompt]) for index, prompt in enumerate(a.prompts) if prompt in where_b]
    if not shared:
        notes.append("no intervals: the fronts were evaluated on different prompts")
        return None
    if len(shared) < max(len(a.prompts), len(b.prompts)):
        notes.append(
            f"restricted to the {len(shared)} prompts that both were evaluated on ({len(a.prompts)}, {len(b.prompts)})"
        )
    rows_a, rows_b = (list(side) for side in zip(*shared, strict=True))
    # one memory layout for both: sums in another order differ in the last bit, and equal policies must cover each other
    chosen_a, chosen_b = a.per_prompt[:, rows_a], b.per_prompt[:, rows_b][:, :, order]
    parts = np.ascontiguousarray(chosen_a), np.ascontiguousarray(chosen_b)
    if any(np.isnan(part).all(axis=1).any() for part in parts):
        notes.append("no intervals: a policy has no score at all on an objective")
        return None
    return parts


def _notes(a: Front, b: Front) -> list[str]:
    if len(a.points) == len(b.points):
        return []
    return [
        f"{a.name} has {len(a.points)} points and {b.name} {len(b.points)}: hypervolume grows with the number of points"
    ]
