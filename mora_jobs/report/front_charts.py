"""Charts of a set of policies: their front in the plane, in space, and along parallel axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from mora_jobs.report.labels import Label, place
from mora_jobs.report.style import BAD, COLOURS, INK, MEDIUM, QUIET, SMALL, Chart, chart, figure, short

BASE = "base"
MOST_NAMED = (
    16  # points in a chart that are all named; of more, the base model, the knee and the best of each objective
)
MOST_BARS = 12  # points with bars in a chart
MOST_PLANES = 6  # four objectives


@dataclass(frozen=True)
class Policy:
    """A point of the front document, with the interval of each mean where there are per-prompt values."""

    name: str
    values: dict[str, float]
    on_front: bool
    knee: bool = False
    intervals: dict[str, tuple[float, float]] | None = None

    @property
    def colour(self) -> str:
        return INK if self.name == BASE else BAD if self.knee else COLOURS[0]

    @property
    def rank(self) -> int:
        return 0 if self.knee or self.name == BASE else 1 if self.on_front else 2


def planes(policies: Sequence[Policy], names: Sequence[str]) -> list[Chart]:
    """Every pair of objectives (up to four objectives; beyond, the first against each other one)."""
    pairs = list(combinations(names, 2))
    if len(pairs) > MOST_PLANES:
        pairs = [(names[0], other) for other in names[1:]]
    return [_plane(policies, x, y, exact=len(names) == 2) for x, y in pairs]


def _plane(policies: Sequence[Policy], x: str, y: str, exact: bool) -> Chart:
    size = MEDIUM if exact else SMALL
    with figure((size[0], size[0] * 0.92)) as (drawing, ax):
        front = sorted((p for p in policies if p.on_front), key=lambda p: p.values[x])
        if exact and front:
            ax.step(
                [p.values[x] for p in front], [p.values[y] for p in front], where="pre", color=QUIET, linewidth=1.2
            )
        barred = len(policies) <= MOST_BARS and _fit(policies, x) and _fit(policies, y)
        for policy in policies:
            at = policy.values[x], policy.values[y]
            if policy.intervals and barred:
                (left, right), (low, high) = policy.intervals[x], policy.intervals[y]
                ax.plot([left, right], [at[1], at[1]], color=policy.colour, alpha=0.22, linewidth=1)
                ax.plot([at[0], at[0]], [low, high], color=policy.colour, alpha=0.22, linewidth=1)
            ax.plot(*at, "o", color=policy.colour, markersize=_size(policies), markeredgewidth=1.2,
                    markerfacecolor=policy.colour if policy.on_front else "white")  # fmt: skip
        ax.set_xlabel(short(x, 34))
        ax.set_ylabel(short(y, 34))
        ax.locator_params(nbins=6)
        # As far as the points need it: whole intervals would squeeze the points of a small evaluation together.
        for axis, name in ((ax.set_xlim, x), (ax.set_ylim, y)):
            values = [policy.values[name] for policy in policies]
            room = max(0.2 * (max(values) - min(values)), 0.01)
            axis(min(values) - room, max(values) + room)
        drawing.canvas.draw()
        drawing.set_layout_engine("none")
        _name(drawing, ax, policies, [tuple(ax.transData.transform((p.values[x], p.values[y]))) for p in policies])
        return chart(drawing, f"{len(policies)} policies by {x} and {y}. {_told(policies)}")


def _fit(policies: Sequence[Policy], name: str) -> bool:
    """Whether the intervals are not much wider than the set of points: else they would only fill the chart with lines."""
    values = [policy.values[name] for policy in policies]
    widths = [high - low for policy in policies if policy.intervals for low, high in [policy.intervals[name]]]
    return bool(widths) and max(widths) <= max(values) - min(values)


def space(policies: Sequence[Policy], names: Sequence[str]) -> Chart:
    """Three objectives; stems down to the floor show where a point stands."""
    from mpl_toolkits.mplot3d import proj3d

    with figure((MEDIUM[0], 4.1), projection="3d") as (drawing, ax):
        columns = [[policy.values[name] for policy in policies] for name in names]
        lows = [min(column) - max(0.12 * (max(column) - min(column)), 0.005) for column in columns]
        for policy, *at in zip(policies, *columns, strict=True):
            ax.plot(*zip(at, [*at[:2], lows[2]], strict=True), color=QUIET, linewidth=0.8)
            ax.plot(*([each] for each in [*at[:2], lows[2]]), ".", color=QUIET, markersize=3)
            ax.plot(*([each] for each in at), "o", color=policy.colour, markersize=_size(policies), markeredgewidth=1.2,
                    markerfacecolor=policy.colour if policy.on_front else "white")  # fmt: skip
        for label, low, column, bound, axis in zip(
            names, lows, columns, (ax.set_xlim, ax.set_ylim, ax.set_zlim), (ax.xaxis, ax.yaxis, ax.zaxis), strict=True
        ):
            bound(low, max(column) + 0.4 * (min(column) - low))
            axis.set_label_text(short(label, 18))
            axis.pane.set_facecolor("#f7f9fb")
            axis.pane.set_edgecolor(QUIET)
            axis.set_tick_params(labelsize=7, pad=1)
        ax.locator_params(nbins=5)
        ax.view_init(elev=22, azim=-52)
        ax.set_box_aspect(None, zoom=0.92)
        ax.set_position((0.0, 0.0, 0.96, 1.1))
        drawing.canvas.draw()
        drawing.set_layout_engine("none")
        pixels = []
        for spot in zip(*columns, strict=True):
            x, y, _ = proj3d.proj_transform(*spot, ax.get_proj())
            pixels.append(tuple(ax.transData.transform((x, y))))
        _name(drawing, ax, policies, pixels)
        return chart(drawing, f"{len(policies)} policies by {', '.join(names)}. {_told(policies)}")


def parallel(policies: Sequence[Policy], names: Sequence[str]) -> Chart:
    """Any number of objectives: a line for each policy over one axis per objective."""
    with figure((MEDIUM[0] if len(names) < 6 else 7.2, 3.6)) as (drawing, ax):
        for policy in sorted(policies, key=lambda each: (each.on_front, -each.rank)):
            dominated = not policy.on_front and policy.name != BASE
            ax.plot(
                range(len(names)), [policy.values[name] for name in names], marker="o", markersize=3.5,
                color=QUIET if dominated else policy.colour, linewidth=2.4 if policy.rank == 0 else 1.2,
                alpha=1.0 if policy.rank == 0 else 0.55,
            )  # fmt: skip
        for colour, label in ((BAD, "knee"), (INK, "base model"), (COLOURS[0], "on the front"), (QUIET, "dominated")):
            ax.plot([], [], color=colour, label=label)
        ax.set_xticks(range(len(names)), [short(name, 14) for name in names], rotation=20 if len(names) > 4 else 0)
        ax.set_ylabel("mean calibrated score")
        drawing.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=4)
        return chart(drawing, f"{len(policies)} policies over {len(names)} objectives. {_told(policies)}")


def _size(policies: Sequence[Policy]) -> float:
    """Of a marker, in points: small where there are many."""
    return 6.0 if len(policies) <= MOST_NAMED else 4.5


def _name(drawing: Any, ax: Any, policies: Sequence[Policy], pixels: Sequence[tuple[float, ...]]) -> None:
    """Names beside the points. Where there are too many, the page's table has them all."""
    named = {policy.name for policy in policies}
    if len(policies) > MOST_NAMED:
        best = {max(policies, key=lambda policy: policy.values[name]).name for name in policies[0].values}
        named = best | {policy.name for policy in policies if policy.rank == 0}
    labels = [
        Label(policy.name if policy.name in named else "", x, y, policy.rank, policy.rank == 0)
        for policy, (x, y) in zip(policies, pixels, strict=True)
    ]
    place(drawing, ax, labels)


def _told(policies: Sequence[Policy]) -> str:
    front = [policy.name for policy in policies if policy.on_front]
    knee = next((f" The knee is {policy.name}." for policy in policies if policy.knee), "")
    shown = ", ".join(front[:MOST_NAMED]) + (f" and {len(front) - MOST_NAMED} more" if len(front) > MOST_NAMED else "")
    return f"Not dominated: {shown}.{knee}"
