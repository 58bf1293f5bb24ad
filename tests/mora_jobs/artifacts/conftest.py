"""Stores of every kind the tests run on: a folder, memory, and a real S3 server (versitygw) when its binary is there."""

import multiprocessing
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from mora_jobs.artifacts.store import Store

KINDS = ("file", "memory", "s3")
S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "tester-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
BUCKET = "artifacts"


def versitygw() -> str | None:
    home = Path.home() / ".cache" / "devcluster" / "bin" / "versitygw"
    return os.environ.get("VERSITYGW") or shutil.which("versitygw") or (str(home) if home.exists() else None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of an S3 server with one bucket, in the environment of this process and its children."""
    binary = versitygw()
    if binary is None:
        pytest.skip("no versitygw binary (set VERSITYGW or build it): the store is not tested on S3")
    folder = tmp_path_factory.mktemp("s3")
    (folder / BUCKET).mkdir()
    endpoint = f"http://127.0.0.1:{free_port()}"
    environment = {"ROOT_ACCESS_KEY": "tester", "ROOT_SECRET_KEY": "tester-secret", "PATH": os.environ["PATH"]}
    command = [binary, "--port", endpoint.removeprefix("http://"), "posix", str(folder)]
    with (folder.parent / "versitygw.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    patch = pytest.MonkeyPatch()
    try:
        wait_until_open(endpoint, server)
        for name, value in {**S3_ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint}.items():
            patch.setenv(name, value)
        yield endpoint
    finally:
        patch.undo()
        server.kill()
        server.wait()


def wait_until_open(endpoint: str, server: subprocess.Popen[bytes], patience: float = 30.0) -> None:
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
    request.getfixturevalue("s3_server")
    return Store(f"s3://{BUCKET}/{uuid.uuid4().hex}/out")


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
