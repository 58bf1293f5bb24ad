"""Charts of trainings: what is logged at every step, evaluations on the way, and forgetting from stage to stage."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora_jobs.report.figures import fixed
from mora_jobs.report.style import (
    COLOURS,
    MEDIUM,
    MUTED,
    SMALL,
    Chart,
    as_number,
    chart,
    colour_of,
    figure,
    legend_below,
    short,
)

Rows = Sequence[Mapping[str, Any]]
MOST_NAMED = 8  # trainings that a legend tells apart


def trainings(histories: Mapping[str, Rows]) -> list[Chart]:
    """Loss, share of pairs in the right order, and margin by optimiser step, a line for each training."""
    drawn = {name: rows for name, rows in histories.items() if rows}
    if not drawn:
        return []
    figures = [
        ("loss", "loss", [_series(rows, lambda row: row.get("loss")) for rows in drawn.values()]),
        ("pairs in the right order", "share", [_series(rows, accuracy) for rows in drawn.values()]),
        ("size of the margin", "nats", [_series(rows, lambda row: row.get("margin")) for rows in drawn.values()]),
    ]
    return [
        _by_step(title, unit, list(drawn), series) for title, unit, series in figures if any(x.size for x, _ in series)
    ]


def accuracy(row: Mapping[str, Any]) -> float | None:
    """Share of pairs that the policy orders as their objective does, over the objectives that this training follows."""
    weighed = [
        (as_number(row.get(f"coefficient/{name}", 1.0)) or 0.0, share)
        for key, value in row.items()
        if key.startswith("accuracy/") and (share := as_number(value)) is not None
        for name in [key.removeprefix("accuracy/")]
    ]
    total = sum(weight for weight, _ in weighed)
    return sum(weight * share for weight, share in weighed) / total if total > 0 else None


def _series(rows: Rows, value: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = [(row["step"], number) for row in rows if (number := as_number(value(row))) is not None]
    steps, values = zip(*known, strict=True) if known else ((), ())
    return np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)


def _by_step(
    title: str, unit: str, names: list[str], series: list[tuple[NDArray[np.float64], NDArray[np.float64]]]
) -> Chart:
    colours = _colours(len(names))
    with figure((SMALL[0], 2.75)) as (drawing, ax):
        for name, colour, (steps, values) in zip(names, colours, series, strict=True):
            if not steps.size:
                continue
            window = max(1, len(values) // 12)
            smooth = np.convolve(values, np.ones(window) / window, mode="valid")
            if window > 1:
                ax.plot(steps, values, color=colour, linewidth=0.7, alpha=0.3)
            ax.plot(
                steps[window - 1 :], smooth, color=colour, label=short(name, 16) if len(names) <= MOST_NAMED else None
            )
        # Where a pair's logistic loss starts; other methods and losses start elsewhere.
        if title == "loss" and any(values.size and abs(values[0] - math.log(2)) < 0.05 for _, values in series):
            ax.axhline(math.log(2), color=MUTED, linewidth=1, linestyle=":")
            ax.annotate("ln 2", (1, math.log(2)), xycoords=("axes fraction", "data"), xytext=(-2, 2), fontsize=7.5,
                        textcoords="offset points", ha="right", color=MUTED,
                        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.4})  # fmt: skip
        ax.set_title(title)
        ax.set_xlabel("optimiser step")
        ax.set_ylabel(unit)
        ax.xaxis.get_major_locator().set_params(integer=True, nbins=6)
        legend_below(drawing, ax, 2)
        told = [
            f"{name} from {fixed(values[0])} at step {steps[0]:.0f} to {fixed(values[-1])} at step {steps[-1]:.0f}"
            for name, (steps, values) in zip(names, series, strict=True)
            if steps.size
        ]
        return chart(drawing, f"Training, {title} by optimiser step: {'; '.join(told[:MOST_NAMED])}.")


def evaluations(curve: Rows, reward: str, before: float | None) -> Chart | None:
    """Mean score on held-out prompts by step; every training starts from the base model. None when nothing is known."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for point in curve:
        value = as_number(point["values"].get(reward))
        if value is not None:
            lines.setdefault(point["training"], [] if before is None else [(0, before)]).append((point["step"], value))
    if not lines:
        return None
    with figure((SMALL[0], 2.75)) as (drawing, ax):
        for (name, points), colour in zip(lines.items(), _colours(len(lines)), strict=True):
            label = short(name, 16) if len(lines) <= MOST_NAMED else None
            ax.plot(*zip(*sorted(points), strict=True), color=colour, marker="o", markersize=3, label=label)
        ax.set_title(short(reward, 30))
        ax.set_xlabel("optimiser step")
        ax.set_ylabel("mean calibrated score")
        ax.xaxis.get_major_locator().set_params(integer=True, nbins=6)
        legend_below(drawing, ax, 2)
        told = "; ".join(f"{name} {fixed(points[-1][1])} at step {points[-1][0]}" for name, points in lines.items())
        return chart(drawing, f"Reward {reward} on held-out prompts during training: {told}.")


def forgetting(stages: Rows) -> Chart | None:
    """Every objective before the first stage and after each one; None without stages."""
    names = list(stages[0]["before"]) if stages else []
    if not names:
        return None
    colours = colour_of(names)
    labels = ["before", *(f"after {short(stage['objective'], 12)}" for stage in stages)]
    with figure((MEDIUM[0], 2.9)) as (drawing, ax):
        for name in names:
            values = [as_number(stages[0]["before"].get(name)), *(as_number(s["after"].get(name)) for s in stages)]
            known = [(at, value) for at, value in enumerate(values) if value is not None]
            ax.plot([at for at, _ in known], [v for _, v in known], marker="o", color=colours[name], label=short(name))
        ax.set_xticks(range(len(labels)), labels, rotation=0 if len(labels) <= 4 else 30)
        ax.set_ylabel("mean calibrated score")
        ax.margins(0.08)
        legend_below(drawing, ax, 3)
        return chart(drawing, f"Every objective before training and {', '.join(labels[1:])}, on held-out prompts.")


def _colours(number: int) -> list[Any]:
    """One for each line; when they are too many to be told apart, a gradient that shows their order at least."""
    if number <= len(COLOURS):
        return list(COLOURS[:number])
    from matplotlib import colormaps

    return [colormaps["viridis"](index / number) for index in range(number)]
