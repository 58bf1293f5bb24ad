"""Stores of every kind the tests run on: a folder, memory, and a real S3 server (versitygw) when its binary is there."""

import multiprocessing
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path

import fsspec
import pytest

from mora_jobs.artifacts.store import Store

# Emulators of the other two clouds are no part of the suite; who has one sets AZURITE (npm: azurite) or FAKE_GCS_SERVER
# (go: github.com/fsouza/fake-gcs-server) to the binary and gets the same tests on az:// and gs://.
EXTRA = tuple(kind for kind, name in {"az": "AZURITE", "gs": "FAKE_GCS_SERVER"}.items() if os.environ.get(name))
KINDS = ("file", "memory", "s3", *EXTRA)
S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "tester-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
BUCKET = "artifacts"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # published by Microsoft


def versitygw() -> str | None:
    """The server's binary: on the PATH, or where `make test` has built it."""
    built = Path(os.environ.get("KUBEBUILDER_ASSETS", "")) / "versitygw"
    return shutil.which("versitygw") or (str(built) if built.is_file() else None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an S3 server with one bucket, in the environment of this process and its children."""
    binary = versitygw()
    if binary is None:
        pytest.skip("no versitygw binary (hack/tools/build test builds it): the store is not tested on S3")
    folder = tmp_path_factory.mktemp("s3")
    (folder / BUCKET).mkdir()
    endpoint = f"http://127.0.0.1:{free_port()}"
    environment = {"ROOT_ACCESS_KEY": "tester", "ROOT_SECRET_KEY": "tester-secret", "PATH": os.environ["PATH"]}
    command = [binary, "--port", endpoint.removeprefix("http://"), "posix", str(folder)]
    with serving(
        command,
        endpoint,
        folder.parent / "versitygw.log",
        environment,
        {**S3_ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint},
    ):
        yield endpoint


@pytest.fixture(scope="session")
def az_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, folder = free_port(), tmp_path_factory.mktemp("az")
    endpoint = f"http://127.0.0.1:{port}"
    command = [os.environ["AZURITE"], "--blobPort", str(port), "--location", str(folder), "--skipApiVersionCheck"]
    account = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURITE_KEY}"
    client = {"AZURE_STORAGE_CONNECTION_STRING": f"{account};BlobEndpoint={endpoint}/devstoreaccount1;"}
    with serving(command, endpoint, folder / "azurite.log", dict(os.environ), client):
        fsspec.filesystem("az").mkdir(BUCKET)
        yield endpoint


@pytest.fixture(scope="session")
def gs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, folder = free_port(), tmp_path_factory.mktemp("gs")
    endpoint = f"http://127.0.0.1:{port}"
    command = [os.environ["FAKE_GCS_SERVER"], "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-backend", "memory", "-external-url", endpoint]
    client = {"STORAGE_EMULATOR_HOST": endpoint}
    with serving(command, endpoint, folder / "gcs.log", dict(os.environ), client):
        fsspec.filesystem("gs", token="anon", project="test").mkdir(BUCKET)
        yield endpoint


@contextmanager
def serving(
    command: list[str], endpoint: str, log: Path, environment: dict[str, str], client: dict[str, str]
) -> Iterator[None]:
    """Run the server; `client` is what its clients find in their environment."""
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    patch = pytest.MonkeyPatch()
    try:
        wait_until_open(endpoint, server)
        for name, value in client.items():
            patch.setenv(name, value)
        yield
    finally:
        patch.undo()
        server.kill()
        server.wait()


def wait_until_open(endpoint: str, server: subprocess.Popen[bytes], patience: float = 60.0) -> None:
    host, port = endpoint.removeprefix("http://").split(":")
    end = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            assert server.poll() is None, "the S3 server ended at once"
            assert time.monotonic() < end, "the S3 server did not listen in time"
            time.sleep(0.05)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store."""
    return make_store(request, request.param, tmp_path)


@pytest.fixture(params=("file", "s3"))
def shared_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store that other processes see, too."""
    return make_store(request, request.param, tmp_path)


def make_store(request: pytest.FixtureRequest, kind: str, folder: Path) -> Store:
    if kind == "file":
        return Store(f"file://{folder}/out")
    if kind == "memory":
        return Store(f"memory://{uuid.uuid4().hex}/out")
    request.getfixturevalue(f"{kind}_server")
    return Store(f"{kind}://{BUCKET}/{uuid.uuid4().hex}/out")


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Children are forked from a server that has the libraries loaded, and nothing else: quick, and no locks are inherited."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mora_jobs.artifacts.table", "pandas", "s3fs"])
    return context


@pytest.fixture
def aws_environment(shared_store: Store) -> dict[str, str]:
    """What a child needs to find the S3 server; the fork server may have been started before it was known."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
