"""`mora events`."""

import argparse
import json
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import names
from .opening import open_source
from .tables import age


def main(given: argparse.Namespace) -> int:
    kinds, name = names.selection(given.job)
    found = open_source(given).events(kinds, name)
    if given.form == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    if not found:
        print("no events", file=sys.stderr)
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"):
        table.add_column(column, no_wrap=column != "MESSAGE", overflow="fold")
    for each in found:
        style = "yellow" if each["type"] == "Warning" else ""
        table.add_row(
            age(each["time"]), Text(each["type"], style), each["reason"], each["object"], Text(each["message"])
        )
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(table)
    return 0
