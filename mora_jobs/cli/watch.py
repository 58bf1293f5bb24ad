"""`mora watch`."""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live

from mora_jobs.api import Phase
from mora_jobs.errors import UserError
from mora_jobs.local.display import jobs_table, line_of

from . import names
from .opening import open_source
from .source import Object

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
                live.update(
                    jobs_table({_key(each): each.get("status", {}) for each in found}, console.width), refresh=True
                )
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


def _print_changed(found: Sequence[Object], shown: dict[str, str]) -> None:
    for thing in found:
        line = line_of(_key(thing), thing.get("status", {}))
        if shown.get(_key(thing)) != line:
            shown[_key(thing)] = line
            print(line, flush=True)
