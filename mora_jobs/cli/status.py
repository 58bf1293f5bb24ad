"""`mora status`: one job in detail."""

import argparse
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mora_jobs.api import Phase
from mora_jobs.local.display import STYLES, counts, detail
from mora_jobs.local.summary import results

from . import names
from .opening import open_source
from .source import Object
from .tables import age, dump


def main(given: argparse.Namespace) -> int:
    kind, name = names.job(given.job)
    source = open_source(given)
    thing = source.objects([kind], name)[0]
    if given.form:
        print(dump(thing, given.form))
    else:
        console = Console()
        for part in describe(thing):
            console.print(part)
        if remark := source.remark():
            print(remark, file=sys.stderr)
    return 1 if thing.get("status", {}).get("phase") == Phase.FAILED else 0


def describe(thing: Object) -> Iterator[Table | Text]:
    """What a person wants to know of a job, most important first."""
    status = thing.get("status", {})
    phase = Phase(status.get("phase") or Phase.PENDING)
    yield Text.assemble(
        (f"{thing['kind']}/{thing['metadata']['name']}  ", "bold"), (phase.value, STYLES.get(phase, ""))
    )
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in _facts(thing):
        facts.add_row(label, Text(value))
    yield facts
    if conditions := status.get("conditions"):
        yield Text("\nConditions", style="bold")
        table = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
        for column in ("Type", "Status", "Reason", "Since", "Message"):
            table.add_column(column, no_wrap=column != "Message")
        for each in conditions:
            since = age(each.get("lastTransitionTime"))
            table.add_row(each["type"], each["status"], each["reason"], since, Text(each.get("message", "")))
        yield table


def _facts(thing: Object) -> Iterator[tuple[str, str]]:
    status = thing.get("status", {})
    progress = status.get("progress", {})
    if status.get("phase") == Phase.COMPLETE:
        for index, line in enumerate(results(thing)):
            yield "" if index else "results", line
    elif progress:
        yield (
            "progress",
            " ".join(part for part in (progress.get("stage", ""), counts(progress), detail(status)) if part),
        )
    elif detail(status):
        yield "message", detail(status)
    if exit := status.get("exit"):
        yield "exit", f"{exit['class']}/{exit['reason']}" + (f": {exit['message']}" if exit.get("message") else "")
    if attempts := status.get("attempts"):
        failed, restarts = attempts.get("failed", 0), attempts.get("infraRestarts", 0)
        yield "attempt", f"{attempts['current']} ({failed} failed, {restarts} lost to the infrastructure)"
    for label, time in (("started", status.get("startTime")), ("ended", status.get("completionTime"))):
        if time:
            yield label, f"{time} ({age(time)} ago)"
    for metric in status.get("metrics", []):
        yield metric["name"].replace("_", " "), metric["value"]
    yield "output", thing["spec"]["output"]["uri"]
    for each in status.get("outputs", []):
        yield each["name"], " ".join(str(part) for part in (each["uri"], each.get("digest", "")) if part)
    if checkpoint := status.get("checkpoint"):
        yield "checkpoint", f"{checkpoint['uri']} (step {checkpoint.get('step', 0)})"
    for label, link in status.get("links", {}).items():
        yield {"dashboardURL": "dashboard"}.get(label, label), link
