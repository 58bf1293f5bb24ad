"""`mora watch`."""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from mora_jobs.api import Phase
from mora_jobs.errors import UserError
from mora_jobs.local.display import counts, detail, row

from . import names
from .source import Object, open_source

ENDED = (Phase.COMPLETE, Phase.FAILED, Phase.STALLED)


def main(given: argparse.Namespace) -> int:
    kinds, name = names.selection(given.job)
    source = open_source(given)
    console = Console()
    shown: dict[str, str] = {}
    with Live(console=console, auto_refresh=False) if console.is_terminal else _nothing() as live:
        for found in source.changes(kinds, name):
            if not found:
                raise UserError("watch", "there is no job to watch")
            if isinstance(live, Live):
                live.update(_table(found), refresh=True)
            else:
                _print_changed(found, shown)
            if all(_phase(thing) in ENDED for thing in found):
                return 1 if any(_phase(thing) is Phase.FAILED for thing in found) else 0
            if remark := source.remark():
                print(remark, file=sys.stderr)
                return 1
    return 0


class _nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *about: object) -> None:
        return None


def _phase(thing: Object) -> Phase:
    return Phase(thing.get("status", {}).get("phase") or Phase.PENDING)


def _key(thing: Object) -> str:
    return f"{thing['kind']}/{thing['metadata']['name']}"


def _table(found: Sequence[Object]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, expand=True)
    for ratio in (5, None, None, 3, None, 6):
        table.add_column(no_wrap=True, ratio=ratio, overflow="ellipsis")
    for thing in found:
        table.add_row(*row(_key(thing), thing.get("status", {})))
    return table


def _print_changed(found: Sequence[Object], shown: dict[str, str]) -> None:
    for thing in found:
        status = thing.get("status", {})
        progress = status.get("progress", {})
        words = [_key(thing), _phase(thing).value]
        if words[1] == Phase.RUNNING:
            words += [progress.get("stage", ""), counts(progress)]
        line = " ".join(word for word in [*words, detail(status)] if word)
        if shown.get(_key(thing)) != line:
            shown[_key(thing)] = line
            print(line, flush=True)
