"""A cluster for the end-to-end tests, given from outside.

KUBECONFIG                a cluster with KubeRay and this operator (its chart), empty of jobs of the test's names
MORA_E2E_EXEC             command in front of every kubectl, e.g. a tool that enters the cluster's network
MORA_E2E_IMAGE            image with Ray and mora_jobs that the cluster can run
MORA_E2E_RAY_VERSION      Ray in that image (default 2.60.0)
MORA_E2E_VOLUME           a folder of the cluster's node that this test can write to (default: a temporary folder,
                          which is right for a cluster of one node on this machine)
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kubectl import Namespace, Object


@pytest.fixture(scope="session")
def runtime_image() -> str:
    image = os.environ.get("MORA_E2E_IMAGE")
    if not image or "KUBECONFIG" not in os.environ:
        pytest.skip("needs a cluster: KUBECONFIG and MORA_E2E_IMAGE are not set")
    return image


@pytest.fixture
def new_namespace(runtime_image: str, tmp_path: Path) -> Iterator[Callable[[], Namespace]]:
    """Makes namespaces that enforce Pod Security `restricted`, each with a volume; all of them go at the end."""
    made: list[Namespace] = []

    def make() -> Namespace:
        name = f"mora-e2e-{uuid.uuid4().hex[:6]}"
        volume = Path(os.environ.get("MORA_E2E_VOLUME", tmp_path)) / name
        volume.mkdir(parents=True)
        made.append(namespace := Namespace(name, volume))
        namespace.apply(*objects(name, volume))
        return namespace

    try:
        yield make
    finally:
        for namespace in made if "MORA_E2E_KEEP" not in os.environ else ():
            namespace.kubectl("delete", "namespace", namespace.name)
            namespace.kubectl("delete", "persistentvolume", namespace.name)
            shutil.rmtree(namespace.volume, ignore_errors=True)


@pytest.fixture
def namespace(new_namespace: Callable[[], Namespace]) -> Namespace:
    return new_namespace()


def objects(name: str, volume: Path) -> list[Object]:
    """The namespace, and its claim `data` on a folder of the node."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
    claim = {"namespace": name, "name": "data"}
    room = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    place = {"hostPath": {"path": str(volume)}, "claimRef": claim, "persistentVolumeReclaimPolicy": "Retain"}
    asked = {"resources": {"requests": {"storage": "1Gi"}}, "volumeName": name}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": room | place | {"capacity": {"storage": "1Gi"}},
        },
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": claim, "spec": room | asked},
    ]
