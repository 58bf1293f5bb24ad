"""`mora logs`."""

import argparse

from . import names
from .opening import open_source


def main(given: argparse.Namespace) -> int:
    kind, name = names.job(given.job)
    for line in open_source(given).log(kind, name, given.follow, given.tail):
        print(line, flush=given.follow)
    return 0
