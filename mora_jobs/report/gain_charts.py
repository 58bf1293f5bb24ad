"""Charts of gains: differences with their intervals, and prompts before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mora_jobs.report.figures import between, signed
from mora_jobs.report.style import (
    BAD,
    GOOD,
    INK,
    MEDIUM,
    MUTED,
    QUIET,
    Chart,
    as_number,
    chart,
    figure,
    legend_below,
    short,
)

MOST_PROMPTS = 40


@dataclass(frozen=True)
class Gain:
    """A difference after − before with its interval; None where it cannot be had."""

    name: str
    value: float | None
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """up or down where the interval excludes 0, else quiet."""
        if self.value is None or self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "quiet"
        return "up" if self.value > 0 else "down"

    @classmethod
    def of(cls, name: str, value: Any, low: Any = None, high: Any = None) -> "Gain":
        """From figures as artifacts (numbers, null) or a status (texts) have them."""
        return cls(name, as_number(value), as_number(low), as_number(high))


SHADES = {"up": GOOD, "down": BAD, "quiet": MUTED}


def intervals(groups: Mapping[str, Sequence[Gain]], unit: str, digits: int = 2) -> Chart | None:
    """Gains as points with intervals; the first group filled, others hollow. None when no gain is known."""
    names = list(dict.fromkeys(gain.name for group in groups.values() for gain in group))
    known = [gain for group in groups.values() for gain in group if gain.value is not None]
    if not known:
        return None
    step = 1.0 / (len(groups) + 0.6)
    with figure((MEDIUM[0], 0.95 + 0.2 * len(names) * (len(groups) + 0.6))) as (drawing, ax):
        for number, (label, group) in enumerate(groups.items()):
            for gain in group:
                if gain.value is None:
                    continue
                row, colour = names.index(gain.name) + (number - (len(groups) - 1) / 2) * step, SHADES[gain.verdict]
                if gain.low is not None and gain.high is not None:
                    ax.plot([gain.low, gain.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
                face = colour if number == 0 else "white"
                ax.plot(gain.value, row, "o", color=colour, markerfacecolor=face, markersize=5.5)
            if len(groups) > 1:
                ax.plot([], [], "o", color=MUTED, markerfacecolor=MUTED if number == 0 else "white", label=label)
        ax.axvline(0, color=INK, linewidth=1)
        ax.set_yticks(range(len(names)), [short(name, 26) for name in names], color=INK)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(f"after − before, {unit}")
        ax.margins(x=0.08)
        legend_below(drawing, ax, 2)
        told = "; ".join(
            f"{gain.name} {signed(gain.value, digits)} {between(gain.low, gain.high, digits)}".strip()
            for gain in known
        )
        return chart(drawing, f"Gains, after − before, with 95 % intervals: {told}.")


def prompts(figures: Sequence[tuple[str, float | None, float | None]], what: str) -> Chart | None:
    """(label, before, after) of each prompt as an arrow, the largest gain first; None when nothing is known."""
    known = [(label, a, b) for label, a, b in figures if a is not None and b is not None]
    if not known:
        return None
    known.sort(key=lambda row: row[1] - row[2])
    shown = known[:MOST_PROMPTS]
    with figure((MEDIUM[0], 0.95 + 0.21 * len(shown))) as (drawing, ax):
        for row, (_, before, after) in enumerate(shown):
            colour = GOOD if after > before else BAD if after < before else MUTED
            ax.plot([before, after], [row, row], color=colour, linewidth=2, zorder=2)
            ax.plot(before, row, "o", color=QUIET, markersize=5, zorder=3, label="original" if row == 0 else None)
            ax.plot(after, row, "o", color=colour, markersize=5, zorder=4, label="rewritten" if row == 0 else None)
        ax.set_yticks(range(len(shown)), [short(label, 18) for label, _, _ in shown], color=INK)
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.set_xlim(-0.03, 1.03)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(what)
        legend_below(drawing, ax, 2)
        rose = sum(after > before for _, before, after in known)
        note = f", the {MOST_PROMPTS} largest gains shown" if len(known) > len(shown) else ""
        return chart(drawing, f"{what} of {len(known)} prompts before and after; it rose for {rose}{note}.")
