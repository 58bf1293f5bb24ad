"""Charts of a RolloutJob: distributions of the rewards, best-of-k curves, classes of prompts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora_jobs.report.figures import compact, fixed, signed
from mora_jobs.report.style import (
    INK,
    MEDIUM,
    MUTED,
    QUIET,
    SMALL,
    Chart,
    as_number,
    chart,
    figure,
    legend_below,
    short,
)

BINS = 30


def histogram(name: str, raw: NDArray[np.float64], colour: str, lower_is_better: bool) -> Chart:
    """Raw scores of one reward over all rollouts, with their mean."""
    known = raw[np.isfinite(raw)]
    with figure((SMALL[0], 2.15)) as (drawing, ax):
        if known.size:
            counts, edges = np.histogram(known, bins=min(BINS, max(1, len(np.unique(known)))))
            ax.stairs(counts, edges, fill=True, color=colour, alpha=0.85)
            mean = float(known.mean())
            ax.axvline(mean, color=INK, linewidth=1.2)
            ax.annotate(
                f"mean {compact(mean)}", (mean, 1), xycoords=("data", "axes fraction"), xytext=(3, -8), fontsize=7.5,
                textcoords="offset points",
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6},
            )  # fmt: skip
            ax.locator_params(axis="both", nbins=5, integer=False)
            told = f"{known.size} scores from {compact(known.min())} to {compact(known.max())}, mean {compact(mean)}"
        else:
            ax.text(0.5, 0.5, "no scores", ha="center", transform=ax.transAxes, color=MUTED)
            ax.set_xticks([])
            ax.set_yticks([])
            told = "no scores"
        ax.set_title(short(name, 30))
        ax.set_xlabel("raw score" + (" (lower is better)" if lower_is_better else ""))
        ax.set_ylabel("rollouts")
        ax.grid(axis="x", visible=False)
        return chart(drawing, f"Histogram of reward {name}: {told}.")


def curves(points: Sequence[Mapping[str, Any]], title: str, colours: Mapping[str, str]) -> Chart:
    """reach(k) of each dimension, balance(k) and joint(k), with 95 % intervals over prompts, k on a log scale."""
    k = [point["k"] for point in points]
    with figure((MEDIUM[0], 3.7)) as (drawing, ax):
        for name, colour in colours.items():
            _band(ax, k, [point["reach"].get(name) for point in points], f"reach, {short(name)}", color=colour)
        balance = [point["balance"] for point in points]
        _band(ax, k, balance, "balance", color=INK, linewidth=2.6)
        _band(ax, k, [point["joint"] for point in points], "joint", color=MUTED, linestyle="--", linewidth=2.2)
        if len(k) > 1:
            # The last doubling is what the plateau is judged by.
            ax.axvspan(k[-2], k[-1], color="#f0f4f8", zorder=0)
        ax.set_xscale("log", base=2)
        ax.set_xticks(k, [str(value) for value in k])
        ax.minorticks_off()
        ax.set_xlabel("k, rollouts per prompt")
        ax.set_ylabel("expected best of k")
        ax.set_ylim(-0.03, 1.03)
        ax.set_title(title)
        legend_below(drawing, ax, 3 if max(map(len, colours)) < 14 else 2)
        return chart(drawing, f"Best-of-k curves, {title}: {_told(points)}.")


def _band(ax: Any, k: Sequence[int], figures: Sequence[Mapping[str, Any] | None], label: str, **line: Any) -> None:
    known = [(at, f) for at, f in zip(k, figures, strict=True) if f and as_number(f["value"]) is not None]
    ax.plot([at for at, _ in known], [f["value"] for _, f in known], marker="o", markersize=3, label=label, **line)
    bounded = [(at, f["low"], f["high"]) for at, f in known if as_number(f["low"]) is not None]
    if bounded:
        ax.fill_between(*zip(*bounded, strict=True), color=line["color"], alpha=0.1, linewidth=0)


def _told(points: Sequence[Mapping[str, Any]]) -> str:
    first, last = points[0], points[-1]
    names = [("balance", first["balance"], last["balance"]), ("joint", first["joint"], last["joint"])]
    names += [(f"reach of {name}", first["reach"][name], last["reach"].get(name)) for name in first["reach"]]
    return "; ".join(
        f"{name} {fixed(a and a['value'], 2)} at k = {first['k']}, {fixed(b and b['value'], 2)} at k = {last['k']}"
        for name, a, b in names
    )


def plateau(points: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, str] | None:
    """What the last doubling of k brought, in words; None for a single k."""
    if len(points) < 2:
        return None
    before, last = points[-2], points[-1]

    def step(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> str:
        values = [as_number(each and each["value"]) for each in (a, b)]
        return "–" if None in values else signed(values[1] - values[0], 2)  # type: ignore[operator]

    return {
        "from": str(before["k"]),
        "to": str(last["k"]),
        "balance": step(before["balance"], last["balance"]),
        "joint": step(before["joint"], last["joint"]),
        **{f"reach of {name}": step(before["reach"].get(name), last["reach"].get(name)) for name in names},
    }


def classes(isolation: Mapping[str, Any], colours: Mapping[str, str]) -> Chart:
    """How many prompts are of which class; single-reward prompts by the only dimension that they can earn."""
    single = {name: int(isolation["singleReward"].get(name, 0)) for name in colours}
    rows = {
        "single-reward": sum(single.values()),
        "multi-reward": isolation["multiReward"],
        "mixed": isolation["mixed"],
        "dead": isolation["dead"],
    }
    total = max(1, sum(rows.values()))
    with figure((MEDIUM[0], 2.5)) as (drawing, ax):
        start = 0
        for name, number in single.items():
            if number:
                ax.barh("single-reward", number, left=start, color=colours[name], label=f"{short(name)} only")
            start += number
        for label, number in rows.items():
            if label != "single-reward" or not number:
                ax.barh(label, number, color=QUIET)
            share = f"{number}  ({100 * number / total:.0f} %)"
            ax.annotate(share, (number, label), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("prompts")
        ax.set_xlim(0, 1.22 * max(1, *rows.values()))
        ax.xaxis.get_major_locator().set_params(integer=True)
        legend_below(drawing, ax, 3)
        told = ", ".join(f"{number} {label}" for label, number in rows.items())
        by = ", ".join(f"{number} {name} only" for name, number in single.items() if number)
        return chart(drawing, f"Classes of prompts: {told}" + (f"; single-reward by dimension: {by}." if by else "."))
