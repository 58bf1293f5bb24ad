"""`mora submit`."""

import argparse
import sys

from mora_jobs import validation

from .opening import open_cluster


def main(given: argparse.Namespace) -> int:
    loaded = validation.load(given.paths)
    faults = []
    for fault in validation.check(loaded, "cluster"):
        # The job that is referred to may be in the cluster already; if not, the status says so.
        print(fault, file=sys.stderr)
        if fault.reason != "ReferenceNotFound":
            faults.append(fault)
    if faults:
        return 2
    cluster = open_cluster(given)
    for each in loaded:
        print(f"{each.doc['kind']}/{each.doc['metadata']['name']} {cluster.apply(each.doc)}")
    return 0
