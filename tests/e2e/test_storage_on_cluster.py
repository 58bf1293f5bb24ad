"""A whole experiment on S3 (versitygw, a real server), with credentials from a Secret: they stand nowhere else."""

import json
import os
import secrets
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chains import complete
from experiments import SECONDS, code, manifests, prepare
from kubectl import Namespace, Object
from statuses import ended

pytestmark = pytest.mark.e2e

PORT = 7070
KEY = "e2e-access-key"


@pytest.fixture
def secret() -> str:
    return secrets.token_hex(20)


@pytest.fixture
def endpoint(secret: str, tmp_path: Path) -> Iterator[str]:
    """An S3 server on this machine with one bucket, `experiments`; the folder behind it is tmp_path/s3."""
    host = os.environ.get("MORA_E2E_HOST")
    if not host:
        pytest.skip("MORA_E2E_HOST is not set: an address of this machine that the cluster's pods reach")
    (tmp_path / "s3" / "experiments").mkdir(parents=True)
    binary = Path(os.environ["KUBEBUILDER_ASSETS"]) / "versitygw"
    command = [*shlex.split(os.environ.get("MORA_E2E_EXEC", "")), binary, "--port", f"{host}:{PORT}", "posix"]
    environment = os.environ | {"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": secret}
    with (tmp_path / "s3.log").open("w") as log:
        server = subprocess.Popen([*command, tmp_path / "s3"], env=environment, stdout=log, stderr=log)
    try:
        yield f"http://{host}:{PORT}"
    finally:
        server.terminate()
        server.wait()


def put_credentials(namespace: Namespace, secret: str) -> None:
    """An AWS credentials file in a Secret."""
    content = f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {secret}\n"
    head = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3-credentials"}}
    namespace.apply(head | {"stringData": {"credentials": content}})


def on_s3(job: Object, endpoint: str, claim: str = "pvc://data/") -> Object:
    """The job with its URIs in the bucket, the credentials from a Secret as a file, and a way to the server."""
    moved: Object = json.loads(json.dumps(job).replace(claim, "s3://experiments/"))
    spec = moved["spec"]
    spec["credentials"] = [{"name": "s3", "secretRef": {"name": "s3-credentials", "key": "credentials"}}]
    variables = [{"name": "AWS_ENDPOINT_URL", "value": endpoint}, {"name": "AWS_DEFAULT_REGION", "value": "us-east-1"}]
    for role in ("head", "workers"):
        spec["cluster"][role] = spec["cluster"][role] | {"pod": {"env": variables}}
    # The policy lets s3:// out on 443; a server of one's own has its own port.
    address = endpoint.removeprefix("http://").partition(":")[0]
    spec["cluster"]["networkPolicy"] = {"extraEgress": [{"cidr": f"{address}/32", "port": PORT}]}
    return moved


@pytest.mark.timeout(5 * SECONDS)
def test_an_experiment_on_s3(
    namespace: Namespace, runtime_image: str, endpoint: str, secret: str, tmp_path: Path
) -> None:
    prepare(bucket := tmp_path / "s3" / "experiments")
    code(namespace)
    put_credentials(namespace, secret)
    jobs = [on_s3(job, endpoint) for job in manifests(runtime_image)]
    namespace.apply(*jobs)
    statuses = complete(namespace, jobs)
    assert statuses[2]["pareto"]["hypervolume"]
    assert (bucket / "runs" / "alignment" / "pareto.json").is_file(), "written through the server"

    said = [
        namespace.kubectl("get", kinds, "-o", "yaml")
        for kinds in ("rlj,rwj,alj", "rayjobs", "configmaps", "pods", "events", "networkpolicies", "jobs")
    ]
    logs = [path.read_text(errors="replace") for path in bucket.rglob("*.log")]
    operator = namespace.kubectl(
        "logs", "-n", "mora-system", "-l", "app.kubernetes.io/name=mora-operator", "--tail=-1"
    )
    artifacts = [path.read_bytes().decode(errors="replace") for path in bucket.rglob("*") if path.is_file()]
    for text in (*said, *logs, operator, *artifacts):
        assert secret not in text
    assert "s3-credentials" in said[1], "by reference it is there"


@pytest.mark.timeout(2 * SECONDS)
def test_wrong_credentials_are_a_mistake_that_is_told(
    namespace: Namespace, runtime_image: str, endpoint: str, tmp_path: Path
) -> None:
    prepare(tmp_path / "s3" / "experiments")
    code(namespace)
    put_credentials(namespace, f"wrong-{secrets.token_hex(8)}")
    job = on_s3(manifests(runtime_image)[0], endpoint)
    namespace.apply(job)
    status = namespace.await_job("rolloutjob", "rollout", SECONDS, until=ended)[-1]
    print(namespace.kubectl("get", "rlj", "-o", "wide"), json.dumps(status["exit"]))
    assert status["phase"] == "Failed"
    assert status["exit"]["class"] == "UserError"
    assert "permission denied" in status["exit"]["message"]
    assert "wrong-" not in json.dumps(status)
