"""One real API server for all tests in this folder."""

from collections.abc import Iterator

import pytest
from control_plane import Cluster, running


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """etcd + kube-apiserver with our three CRDs installed; tests make namespaces of their own."""
    with running(tmp_path_factory.mktemp("control-plane")) as cluster:
        cluster.install_crds()
        yield cluster
