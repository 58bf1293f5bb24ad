"""`mora validate`."""

import argparse
import sys

from mora_jobs import validation


def main(given: argparse.Namespace) -> int:
    loaded = validation.load(given.paths)
    faults = validation.check(loaded, given.target)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        return 2
    for each in loaded:
        assert each.job is not None, "a document without a job has faults"
        print(f"{each.file}: {each.job.kind}/{each.job.metadata.name}: valid")
    return 0
