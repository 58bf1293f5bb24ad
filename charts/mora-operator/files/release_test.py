"""What `helm test` runs, in the operator's image: all replicas are ready, one leads, and reports are taken over TLS."""

import argparse
import http.client
import json
import re
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

WAIT_SECONDS = 120.0
REQUEST_SECONDS = 5.0


class Place(NamedTuple):
    host: str
    port: int


def place(text: str) -> Place:
    host, _, port = text.rpartition(":")
    return Place(host, int(port))


def replicas(host: str, port: int) -> list[str]:
    """Addresses of the pods that are ready: the Service is headless."""
    return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})


def answer(connection: http.client.HTTPConnection, method: str, path: str) -> tuple[int, str]:
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def leads(address: str, port: int) -> bool:
    """Whether the replica says that it leads. Raises where it is not ready."""
    status, text = answer(http.client.HTTPConnection(address, port, timeout=REQUEST_SECONDS), "GET", "/readyz")
    if status != 200:
        raise RuntimeError(f"{address} is not ready: {status} {text.strip()}")
    _, text = answer(http.client.HTTPConnection(address, port, timeout=REQUEST_SECONDS), "GET", "/metrics")
    found = re.search(r"^mora_leader (\S+)$", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{address} has no metric mora_leader")
    return float(found.group(1)) == 1


def check_replicas(metrics: Place, wanted: int) -> str:
    addresses = replicas(*metrics)
    leaders = [address for address in addresses if leads(address, metrics.port)]
    if len(addresses) < wanted:
        raise RuntimeError(f"{len(addresses)} of {wanted} replicas are ready")
    if len(leaders) != 1:
        raise RuntimeError(f"{len(leaders)} replicas lead")
    return f"{len(addresses)} replicas are ready, {leaders[0]} leads"


def check_progress(progress: Place, authorities: Path) -> str:
    """The endpoint shows a certificate of a published authority for its name, and refuses who has no token."""
    context = ssl.create_default_context()
    for file in sorted(authorities.iterdir()):
        if file.is_file():
            context.load_verify_locations(cadata=file.read_text())
    connection = http.client.HTTPSConnection(*progress, timeout=REQUEST_SECONDS, context=context)
    status, text = answer(connection, "POST", "/v1alpha1/default/rolloutjobs/helm-test/1")
    if status != 401 or "token" not in json.loads(text)["error"]:
        raise RuntimeError(f"a report without a token was answered by {status} {text.strip()}")
    return f"{progress.host}:{progress.port} takes reports over TLS, with a token only"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--metrics", type=place, required=True)
    parser.add_argument("--progress", type=place, required=True)
    parser.add_argument("--authorities", type=Path, required=True)
    parser.add_argument("--replicas", type=int, required=True)
    parser.add_argument("--wait-seconds", type=float, default=WAIT_SECONDS)
    given = parser.parse_args()
    checks: list[Callable[[], str]] = [
        lambda: check_replicas(given.metrics, given.replicas),
        lambda: check_progress(given.progress, given.authorities),
    ]
    until = time.monotonic() + given.wait_seconds
    for check in checks:
        while True:
            try:
                print("ok:", check(), flush=True)
                break
            except (OSError, RuntimeError, ValueError, KeyError, http.client.HTTPException) as error:
                if time.monotonic() > until:
                    print("failed:", error, file=sys.stderr)
                    return 1
            time.sleep(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
