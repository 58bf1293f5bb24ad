"""The source of jobs that a command line names. Each is imported late: the client of Kubernetes takes its time."""

import argparse
from typing import TYPE_CHECKING

from mora_jobs.errors import UserError

from .source import Source

if TYPE_CHECKING:
    from .cluster_source import ClusterSource


def open_source(given: argparse.Namespace) -> Source:
    """The source that the command line names."""
    if given.workdir is not None:
        if given.namespace or given.context or given.kubeconfig or getattr(given, "all_namespaces", False):
            raise UserError("--workdir", "goes without the options of a cluster")
        from .workdir_source import WorkdirSource

        return WorkdirSource(given.workdir)
    return open_cluster(given)


def open_cluster(given: argparse.Namespace) -> "ClusterSource":
    """The cluster that the command line names."""
    from .cluster import Cluster
    from .cluster_source import ClusterSource

    cluster = Cluster.connect(given.kubeconfig, given.context)
    return ClusterSource(cluster, given.namespace, getattr(given, "all_namespaces", False))
