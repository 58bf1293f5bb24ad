"""Names beside the points of a chart, placed so that none covers another or a point; what finds no room is left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from mora_jobs.report.style import INK, QUIET, short

POINT = 4.5  # pixels around the centre of a point that stay free
GAP = 3.0
# Right, left, above, below, the corners, and all again farther away with a line to the point.
PLACES = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]
DISTANCES = (7.0, 18.0, 32.0, 52.0)


@dataclass(frozen=True)
class Label:
    """A name and its point, in pixels of the figure; a point without a name only takes room. Low ranks choose first."""

    text: str
    x: float
    y: float
    rank: int = 0
    bold: bool = False


def place(drawing: Figure, ax: Any, labels: Sequence[Label], room: Bbox | None = None) -> int:
    """Write the labels inside `room` (the axes when absent); returns how many found a place.

    Call it when the layout is fixed: positions are in pixels.
    """
    renderer = drawing.canvas.get_renderer()  # type: ignore[attr-defined]
    room = room or ax.get_window_extent(renderer)
    taken = [Bbox.from_extents(p.x - POINT, p.y - POINT, p.x + POINT, p.y + POINT) for p in labels]
    placed = 0
    for label in sorted(labels, key=lambda each: each.rank):
        if not label.text:
            continue
        weight = "bold" if label.bold else "normal"
        text = drawing.text(0, 0, short(label.text), fontsize=7.5, color=INK, fontweight=weight, va="bottom", zorder=9)
        size = text.get_window_extent(renderer)
        found = _free(label, size.width, size.height, taken, room)
        if found is None:
            text.remove()
            continue
        box, distance = found
        taken.append(box)
        # A text's own position is not exactly the corner of what it covers.
        x, y = drawing.transFigure.inverted().transform((box.x0 - size.x0, box.y0 - size.y0))
        text.set_position((float(x), float(y)))
        if distance > DISTANCES[0]:
            _line(drawing, label, box)
        placed += 1
    return placed


def _free(label: Label, width: float, height: float, taken: Sequence[Bbox], room: Bbox) -> tuple[Bbox, float] | None:
    for distance in DISTANCES:
        for right, up in PLACES:
            reach = distance if right == 0 or up == 0 else 0.72 * distance
            x = label.x + right * reach - (0.0 if right > 0 else width if right < 0 else width / 2)
            y = label.y + up * reach - (0.0 if up > 0 else height if up < 0 else height / 2)
            box = Bbox.from_bounds(x, y, width, height)
            padded = Bbox.from_extents(x - GAP, y - GAP / 3, x + width + GAP, y + height + GAP / 3)
            inside = room.x0 <= x and x + width <= room.x1 and room.y0 <= y and y + height <= room.y1
            if inside and not any(padded.overlaps(other) for other in taken):
                return box, distance
    return None


def _line(drawing: Figure, label: Label, box: Bbox) -> None:
    """From the point to the nearest place of the name's edge."""
    from matplotlib.lines import Line2D

    x, y = min(max(label.x, box.x0), box.x1), min(max(label.y, box.y0), box.y1)
    ends = drawing.transFigure.inverted().transform([(label.x, label.y), (x, y)])
    drawing.add_artist(
        Line2D(ends[:, 0], ends[:, 1], transform=drawing.transFigure, color=QUIET, linewidth=0.6, zorder=1)
    )
