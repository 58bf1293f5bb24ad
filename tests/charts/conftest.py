"""A real API server for each file of tests that install the chart; those that only render it start none."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The control plane and the operator's process are those of the tests against a real API server.
sys.path.append(str(Path(__file__).parents[1] / "apiserver"))

from control_plane import Cluster, running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """etcd + kube-apiserver without anything of ours."""
    with running(tmp_path_factory.mktemp("charts")) as cluster:
        yield cluster
