"""`mora get`."""

import argparse
import sys

from rich.console import Console

from . import names
from .opening import open_source
from .tables import print_objects


def main(given: argparse.Namespace) -> int:
    kinds, name = names.selection(given.job)
    source = open_source(given)
    found = source.objects(kinds, name)
    if not found and given.form not in ("json", "yaml"):
        print("no jobs found", file=sys.stderr)
        return 0
    print_objects(found, given.form, _console(), given.all_namespaces)
    if given.form in (None, "wide") and (remark := source.remark()):
        print(remark, file=sys.stderr)
    return 0


def _console() -> Console:
    """Without a terminal nothing is cut or wrapped, so that the output can be filtered."""
    return Console() if sys.stdout.isatty() else Console(width=10_000)
