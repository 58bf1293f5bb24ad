"""One real API server with our operator for the tests of this folder; Kustomize is kubectl's."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The control plane and the operator's process are those of the tests against a real API server.
sys.path.append(str(Path(__file__).parents[1] / "apiserver"))

from checkout import Checkout
from control_plane import Cluster, running
from experiment import Experiment
from operator_process import Operator, install, running_operator


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """etcd + kube-apiserver with our CRDs, and KubeRay's, of which the tests play the controller."""
    with running(tmp_path_factory.mktemp("gitops")) as cluster:
        cluster.install_crds()
        install(cluster)
        yield cluster


@pytest.fixture(scope="session")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with running_operator(cluster, tmp_path_factory.mktemp("operator")) as operator:
        yield operator
        assert "Traceback" not in operator.log


@pytest.fixture
def experiment(cluster: Cluster, operator: Operator, request: pytest.FixtureRequest) -> Iterator[Experiment]:
    """A namespace of this test, and what KubeRay and the garbage collector do in it."""
    namespace = f"team-{abs(hash(request.node.nodeid)) % 10**8}"
    cluster.kubectl("create", "namespace", namespace)
    with Experiment(cluster, operator, namespace) as experiment:
        yield experiment


@pytest.fixture
def checkout(cluster: Cluster, tmp_path: Path) -> Checkout:
    """A team's copy of examples/gitops, to change and to commit."""
    return Checkout(cluster, tmp_path / "checkout")
