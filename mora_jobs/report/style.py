"""How every chart looks: one set of colours and one size of text, drawn as SVG so that it stays sharp in print.

A chart is one small picture, not a row of panels: the page lays them out beside each other or, on a telephone, below
each other, and the text in them keeps its size.
"""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

# Okabe & Ito: distinct for colour-blind readers too; black is left to text.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#6B6ECF")
INK, MUTED, GRID, QUIET = "#1f2933", "#616e7c", "#e4e7eb", "#9aa5b1"
GOOD, BAD = "#00795a", "#b34700"
SMALL, MEDIUM = (3.3, 2.5), (4.9, 3.3)  # inches: three or two beside each other
PIXELS_PER_INCH = 96
LONGEST = 22  # characters of a name in a chart
SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.parse_math": False,  # names are texts, not formulas
    "axes.edgecolor": QUIET,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
    # Equal data give equal bytes.
    "svg.hashsalt": "mora",
}


@dataclass(frozen=True)
class Chart:
    """A drawn picture as a data URI, with what it shows in words for readers who cannot see it."""

    alt: str
    source: str
    width: int
    height: int


def colour_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name, in their order: the same in all charts of a job."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


@contextmanager
def figure(size: tuple[float, float] = SMALL, **axes: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure with one pair of axes, closed afterwards. `size` in inches."""
    with plt.rc_context(SETTINGS):
        drawing, ax = plt.subplots(figsize=size, subplot_kw=axes)
        try:
            yield drawing, ax
        finally:
            plt.close(drawing)


def chart(drawing: Figure, alt: str) -> Chart:
    """The figure as a chart."""
    file = io.BytesIO()
    drawing.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    width, height = (round(inches * PIXELS_PER_INCH) for inches in drawing.get_size_inches())
    return Chart(alt, f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}", width, height)


def legend_below(drawing: Figure, ax: Axes, columns: int) -> None:
    """The legend under the axes, where it hides nothing."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        drawing.legend(handles, labels, loc="outside lower left", ncols=columns, columnspacing=1.2)


def short(name: str, longest: int = LONGEST) -> str:
    """A name that fits a chart: the middle of a long one is left out, since names often differ at their ends only."""
    name = "".join(c if _drawable(c) else "▯" for c in name)
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 2
    return f"{name[: longest - 1 - tail]}…{name[-tail:]}"


@cache
def _drawable(character: str) -> bool:
    """Whether the charts' font has it. Names in manifests are Latin, but ids of prompts may be in any script."""
    font = get_font(findfont(SETTINGS["font.family"]))
    return character.isprintable() and font.get_char_index(ord(character)) != 0


def as_number(value: Any) -> float | None:
    """A finite number, or None for what is none (None, NaN, a text that is no number)."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
