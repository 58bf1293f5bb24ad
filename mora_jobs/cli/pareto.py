"""`mora pareto`: fronts compared two by two."""

import argparse
import json
import math
from itertools import combinations
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mora_jobs.artifacts.document import read_json
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError
from mora_jobs.estimators.bootstrap import Interval
from mora_jobs.local.workdir import Workdir
from mora_jobs.pareto.compare import Comparison, compare
from mora_jobs.pareto.document import from_document
from mora_jobs.pareto.front import Front


def main(given: argparse.Namespace) -> int:
    if len(given.fronts) < 2:
        raise UserError("mora pareto", "needs two fronts at least", "see `mora pareto --help`")
    fronts = [read_front(each) for each in given.fronts]
    comparisons = [compare(a, b, given.reference) for a, b in combinations(fronts, 2)]
    if given.form == "json":
        print(json.dumps([each.to_json() for each in comparisons], indent=2))
        return 0
    console = Console()
    for index, each in enumerate(comparisons):
        if index:
            console.print()
        _show(each, console)
    return 0


def read_front(place: str) -> Front:
    """The front of a pareto.json, of a job's output folder or URI, or of WORKDIR:NAME."""
    folder, colon, name = place.rpartition(":")
    if "://" not in place and colon and Path(folder).is_dir() and not Path(place).exists():
        job = Workdir(Path(folder)).objects().get(f"AlignmentJob/{name}")
        if job is None:
            raise UserError(place, f"{folder} has no AlignmentJob {name}")
        return _read(job["spec"]["output"]["uri"], name)
    if "://" in place:
        return _read(place, place)
    path = Path(place)
    if path.is_file():
        return _read(path.parent.absolute().as_uri(), place, path.name)
    return _read(path.absolute().as_uri(), place)


def _read(uri: str, name: str, file: str = "pareto.json") -> Front:
    if uri.endswith(".json"):
        uri, _, file = uri.rpartition("/")
    document = read_json(Store(uri), file)
    if document is None:
        raise UserError(name, f"there is no {file}", "give the output folder of a complete AlignmentJob")
    return from_document(document, name)


def _show(comparison: Comparison, console: Console) -> None:
    a, b = comparison.names
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold", title_justify="left")
    for column in ("", a, b, "difference (A − B)"):
        table.add_column(column, overflow="fold")
    first, second = comparison.hypervolume
    table.add_row("hypervolume", _figure(first), _figure(second), _figure(comparison.difference))
    table.add_row("covers of the other", *(_figure(each) for each in comparison.coverage), "")
    console.print(table)
    reference = ", ".join(
        f"{name} {value:.4g}" for name, value in zip(comparison.objectives, comparison.reference, strict=True)
    )
    console.print(
        f"reference point: {reference}; brackets are 95 % intervals over {first.prompts} prompts", style="dim"
    )
    for note in comparison.notes:
        console.print(f"note: {note}", style="yellow", markup=False)


def _figure(figure: Interval) -> str:
    interval = "" if math.isnan(figure.low) else f" [{figure.low:.4g}, {figure.high:.4g}]"
    return f"{figure.value:.4g}{interval}"
