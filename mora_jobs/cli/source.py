"""Where jobs are looked up: a workdir of `mora run`, or a cluster. Commands do not care which."""

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mora_jobs.errors import UserError

if TYPE_CHECKING:
    from .cluster_source import ClusterSource

Object = dict[str, Any]


class Source(Protocol):
    """Objects in the shape that a cluster gives them."""

    def objects(self, kinds: Sequence[str], name: str | None = None) -> list[Object]:
        """The jobs of some kinds, by kind and name. UserError if `name` is given and there is no such job."""
        ...

    def changes(self, kinds: Sequence[str], name: str | None = None) -> Iterator[list[Object]]:
        """The same now, and again whenever something may have changed; without end."""
        ...

    def log(self, kind: str, name: str, follow: bool, tail: int | None) -> Iterator[str]:
        """Lines of the driver's log, without line ends. UserError if there is none."""
        ...

    def events(self, kinds: Sequence[str], name: str | None = None) -> list[Object]:
        """{time, type, reason, object, message}, oldest first."""
        ...

    def remark(self) -> str | None:
        """What one should know about the source when reading it, if anything."""
        ...


def open_source(given: argparse.Namespace) -> Source:
    """The source that the command line names."""
    if given.workdir is not None:
        if given.namespace or given.context or given.kubeconfig or getattr(given, "all_namespaces", False):
            raise UserError("--workdir", "goes without the options of a cluster")
        from .workdir_source import WorkdirSource

        return WorkdirSource(given.workdir)
    return open_cluster(given)


def open_cluster(given: argparse.Namespace) -> "ClusterSource":
    """The cluster that the command line names. Imported late: the client of Kubernetes takes its time."""
    from .cluster import Cluster
    from .cluster_source import ClusterSource

    cluster = Cluster.connect(given.kubeconfig, given.context)
    return ClusterSource(cluster, given.namespace, getattr(given, "all_namespaces", False))
