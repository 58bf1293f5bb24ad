"""`mora suspend` and `mora resume`."""

import argparse

from . import names
from .opening import open_cluster


def main(given: argparse.Namespace) -> int:
    kind, name = names.job(given.job)
    open_cluster(given).merge(kind, name, {"spec": {"suspend": given.command == "suspend"}})
    print(f"{kind}/{name} {'suspended' if given.command == 'suspend' else 'resumed'}")
    return 0
