"""One real API server for all tests in this folder."""

from collections.abc import Iterator

import pytest
from control_plane import Cluster, running
from rest import Rest


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """etcd + kube-apiserver with our three CRDs installed; tests make namespaces of their own."""
    with running(tmp_path_factory.mktemp("control-plane")) as cluster:
        cluster.install_crds()
        yield cluster


@pytest.fixture(scope="module")
def rest(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Rest]:
    """A client of a namespace that only this test file uses."""
    namespace = request.module.__name__.rpartition(".")[2].replace("_", "-")
    cluster.kubectl("create", "namespace", namespace)
    with Rest(cluster, namespace) as client:
        yield client
