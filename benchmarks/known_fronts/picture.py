"""Found points over the known fronts: a row for each front, a column for each family of methods."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from scipy.spatial import ConvexHull  # type: ignore[import-untyped]

from mora_jobs.report.style import COLOURS, INK, QUIET, SETTINGS

from .front import GAP, Floats, Found
from .policies import Structure
from .problems import Problem

BLUE, ORANGE, GREEN, PINK = COLOURS[:4]
AREA = "#e9edf1"
LETTERS_AS_TEXT = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
}
"""Half the size; a reader may lack the font."""
FAMILIES = (
    {"DPO": (BLUE, "o", 5), "CAGrad": (ORANGE, "x", 4.5), "RACO": (GREEN, "+", 6)},
    {
        "MGDA": (BLUE, "o", 5),
        "MGDANormalised": (ORANGE, "x", 4.5),
        "MGDADecoupled": (GREEN, "+", 8),
        "GroupDRO": (PINK, ".", 5),
    },
    {
        "bound, augmented": (BLUE, "o", 5),
        "bound, Lagrangian": (ORANGE, "x", 4.5),
        "MOPO": (BLUE, "o", 5),
        "mixed probabilities": (ORANGE, "x", 4.5),
        "Rewarded Soup": (GREEN, "+", 6),
    },
)
"""Of each column: methods with colour, marker and size in points."""
LABELS = {"DPO": "weighted sum"}


def draw(
    path: str,
    of_losses: Sequence[Problem],
    found: Mapping[str, Mapping[str, Found]],
    of_policies: Sequence[Structure],
    found_policies: Mapping[str, Mapping[str, Found]],
) -> None:
    with plt.rc_context(SETTINGS | LETTERS_AS_TEXT):
        height = 1.85 * (len(of_losses) + len(of_policies)) + 1.2
        whole = plt.figure(figsize=(9.2, height), facecolor="white")
        parts: Any = whole.subfigures(2, 1, height_ratios=[len(of_losses), len(of_policies)])
        upper, lower = parts
        upper.suptitle("Losses of two objectives: lower left is better. The line is the front.", weight="bold")
        lower.suptitle(
            "Win rates of policies, primary across and secondary up: upper right is better. The line is the front\n"
            "at one price of KL; the grey area is what policies reach at any.",
            weight="bold",
        )
        rows = _grid(upper, len(of_losses))
        for axes, problem in zip(rows, of_losses, strict=True):
            _row(axes, problem.name, _in_pieces(problem.front.curve), problem.front.unit, found[problem.name])
        _headings(rows[0])
        rows = _grid(lower, len(of_policies))
        for axes, structure in zip(rows, of_policies, strict=True):
            curve = np.array([structure.wins @ structure.gibbs((1 - w, w)) for w in np.linspace(0, 1, 41)])
            corners = structure.wins.T[ConvexHull(structure.wins.T).vertices]
            for ax in axes:
                ax.fill(*corners.T, color=AREA, zorder=0)
            _row(axes, structure.name, curve, np.ptp(corners, axis=0), found_policies[structure.name])
            seen = np.concatenate([curve, *(each.points for each in found_policies[structure.name].values())])
            margin = 0.06 * np.ptp(seen, axis=0)
            (left, bottom), (right, top) = seen.min(axis=0) - margin, seen.max(axis=0) + margin
            axes[0].set(xlim=(left, right), ylim=(bottom, top))
        _headings(rows[0])
        whole.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(whole)


def _grid(part: Any, rows: int) -> Any:
    return part.subplots(rows, len(FAMILIES), squeeze=False, sharex="row", sharey="row")


def _row(axes: Sequence[Axes], name: str, curve: Floats, unit: Floats, found: Mapping[str, Found]) -> None:
    axes[0].set_ylabel(name, color=INK, weight="bold")
    axes[0].locator_params(nbins=4)
    for ax, family in zip(axes, FAMILIES, strict=True):
        ax.plot(*curve.T, color=QUIET, linewidth=2.5, zorder=1)
        for method, (colour, marker, size) in family.items():
            if method in found:
                distinct = np.unique((found[method].points / unit).round(3), axis=0) * unit
                ax.plot(
                    *distinct.T,
                    linestyle="none",
                    color=colour,
                    marker=marker,
                    markersize=size,
                    markeredgewidth=1.1,
                    fillstyle="none" if marker == "o" else "full",
                    label=LABELS.get(method, method),
                    zorder=2,
                )


def _headings(axes: Sequence[Axes]) -> None:
    """The legend of each column, above its first panel."""
    for ax in axes:
        ax.set_title("\n\n", fontsize=8.5)  # room for two lines
        legend = ax.legend(
            loc="lower left", bbox_to_anchor=(-0.04, 1.0), ncols=2, frameon=False, handletextpad=0.1, columnspacing=0.8
        )
        legend.set_in_layout(False)  # the panels keep their width


def _in_pieces(curve: Floats) -> Floats:
    """With a break wherever the front has one, and as many points as a drawing needs."""
    steps = np.linalg.norm(np.diff(curve / np.ptp(curve, axis=0), axis=0), axis=1)
    breaks = np.flatnonzero(steps > GAP) + 1
    walked = np.split(np.pad(np.cumsum(np.where(steps > GAP, 0, steps)), (1, 0)), breaks)
    drawn = []
    for piece, lengths in zip(np.split(curve, breaks), walked, strict=True):
        evenly = np.searchsorted(lengths, np.linspace(lengths[0], lengths[-1], 50))
        drawn.append(np.vstack([piece[evenly.clip(max=len(piece) - 1)], [np.nan, np.nan]]))
    return np.concatenate(drawn)
