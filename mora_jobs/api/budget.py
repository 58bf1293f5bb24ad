"""What a report may weigh, on the wire and in a status: the API server and etcd refuse objects that are too large.

What is cut lies complete in the artifacts. Metrics go first, then points of the front, then the largest results.
"""

import json
from typing import Any

STATUS_BYTES = 65_536
"""A status is never larger, as JSON."""
REPORTED_BYTES = 45_056
"""Of these, what the driver has reported; the rest is the operator's: conditions, attempts and the like."""
FEW_METRICS = 8
FEW_POINTS = 2
KEPT = ("progress", "exit", "trainerStatus")


def size(value: Any) -> int:
    """Bytes of a value as compact JSON."""
    return len(encoded(value))


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def cut(value: dict[str, Any], limit: int) -> list[str]:
    """Shorten a report, or the members of status that reports set, to `limit` bytes. Returns names of what was cut.

    `value` is changed in place; lists that are cut are replaced, not changed. What must stay (progress and exit) is
    smaller than any limit that makes sense.
    """
    cuts = []
    if size(value) > limit and len(value.get("metrics", [])) > FEW_METRICS:
        value["metrics"] = value["metrics"][:FEW_METRICS]
        cuts.append("Metrics")
    results = value.get("result") or value
    pareto = results.get("pareto")
    if pareto and size(value) > limit and len(pareto["front"]) > FEW_POINTS:
        results["pareto"] = pareto = dict(pareto)
        while size(value) > limit and len(pareto["front"]) > FEW_POINTS:
            pareto["front"] = _thinned(pareto["front"], pareto.get("knee"))
        cuts.append("Front")
    while size(value) > limit:
        members = results if results is not value and results else value
        largest = max((name for name in members if name not in KEPT), key=lambda name: size(members[name]))
        del members[largest]
        cuts.append(largest[0].upper() + largest[1:])
    return cuts


def _thinned(front: list[dict[str, Any]], knee: str | None) -> list[dict[str, Any]]:
    """Every other point, so that the shape of the front survives; the ends and the knee stay as long as they can."""
    kept = [point for i, point in enumerate(front) if i % 2 == 0 or i == len(front) - 1 or point["name"] == knee]
    return kept if len(kept) < len(front) else front[:-1]
