"""`mora crd`."""

import argparse

from mora_jobs.api import KINDS
from mora_jobs.api.crd import crd_yaml

from . import names


def main(given: argparse.Namespace) -> int:
    kinds = [names.kind(each) for each in given.kinds] or list(KINDS)
    print("---\n".join(crd_yaml(kind) for kind in kinds), end="")
    return 0
