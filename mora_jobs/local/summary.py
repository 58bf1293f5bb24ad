"""The end of a run: a short table with the main results of each job."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from mora_jobs.api import Phase

from .display import STYLES, detail
from .workdir import Object, key_of


def summary(objects: Iterable[Object]) -> Table:
    """One row for each job: what came out of it."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("Job", no_wrap=True)
    table.add_column("Phase", no_wrap=True)
    table.add_column("Results")
    for thing in objects:
        status = thing.get("status", {})
        phase = Phase(status.get("phase", Phase.PENDING))
        table.add_row(key_of(thing), Text(phase.value, style=STYLES.get(phase, "")), Text("\n".join(results(thing))))
    return table


def results(thing: Object) -> list[str]:
    """The main results in a line or two; why there are none, if there are none."""
    status = thing.get("status", {})
    if status.get("phase") != Phase.COMPLETE:
        return [detail(status)]
    lines = {"RolloutJob": _rollout, "RewriteJob": _rewrite, "AlignmentJob": _alignment}[thing["kind"]](status)
    return list(lines) or [detail(status)]


def _rollout(status: Mapping[str, Any]) -> Iterator[str]:
    if counts := status.get("rollouts"):
        failed = counts["prompts"].get("failed", 0)
        lost = f" ({failed} failed)" if failed else ""
        yield f"{counts['samples']} rollouts of {counts['prompts']['total']} prompts{lost}"
    if isolation := status.get("isolation"):
        single = isolation.get("singleReward", {})
        by = ", ".join(f"{name} {n}" for name, n in single.items() if n)
        yield (
            f"single-reward {sum(single.values())}{f' ({by})' if by else ''}, multi {isolation.get('multiReward', 0)}, "
            f"mixed {isolation.get('mixed', 0)}, dead {isolation.get('dead', 0)}"
        )


def _rewrite(status: Mapping[str, Any]) -> Iterator[str]:
    if counts := status.get("rewrites"):
        yield f"{counts.get('accepted', 0)} of {counts['prompts']['total']} single-reward prompts rewritten"
    if gain := status.get("gain"):
        yield ", ".join(_change(name, gain[name]) for name in ("balance", "hypervolume", "joint") if name in gain)


def _alignment(status: Mapping[str, Any]) -> Iterator[str]:
    objectives = status.get("objectives", [])
    if objectives:
        yield "points of 100: " + ", ".join(
            f"{each['name']} {_signed(each['points'])}{_interval(each.get('ci'))}" for each in objectives
        )
    if pareto := status.get("pareto"):
        knee = f", knee {pareto['knee']}" if pareto.get("knee") else ""
        yield f"front of {len(pareto['front'])} points, hypervolume {_short(pareto['hypervolume'])}{knee}"


def _change(name: str, change: Mapping[str, Any]) -> str:
    return f"{name} {_short(change['before'])} → {_short(change['after'])}{_interval(change.get('ci'))}"


def _interval(ends: Any) -> str:
    return f" [{_signed(ends[0])}, {_signed(ends[1])}]" if ends else ""


def _signed(text: str) -> str:
    return f"{float(text):+.3g}"


def _short(text: str) -> str:
    return f"{float(text):.3g}"
