"""What operator_scale.py stands on: a fresh API server, a client with many requests at once, watches, and figures of processes."""

import argparse
import asyncio
import itertools
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "apiserver"))

from control_plane import Cluster, running
from kuberay_process import install_crds, missing, running_kuberay  # noqa: F401 (for operator_scale)
from operator_process import Object, Operator, install

METADATA, METADATA_LIST = (
    f"application/json;as={kind};g=meta.k8s.io;v=v1" for kind in ("PartialObjectMetadata", "PartialObjectMetadataList")
)
KINDS = {
    "rolloutjobs": "apis/mora.dev/v1alpha1", "rayjobs": "apis/ray.io/v1", "rayclusters": "apis/ray.io/v1", "pods": "api/v1",
    "configmaps": "api/v1", "serviceaccounts": "api/v1", "networkpolicies": "apis/networking.k8s.io/v1",
}  # fmt: skip
AT_ONCE = 24
INTERVAL = 15.0
# What an installation has by default; the tests' operator is far more eager.
FLAGS = {"progress-interval-seconds": INTERVAL, "resync-seconds": 300, "log-level": "WARNING"}


class Client:
    """An administrator's requests, many at once, and watches that note when something was seen."""

    def __init__(self, cluster: Cluster, http: aiohttp.ClientSession) -> None:
        self._cluster, self._http, self._tasks = cluster, http, set[asyncio.Task[None]]()
        self._ssl = ssl.create_default_context(cafile=str(cluster.ca))

    async def request(
        self, verb: str, path: str, body: Object | None = None, accept: str = "application/json"
    ) -> Object:
        patch = "application/merge-patch+json" if verb == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {self._cluster.token}", "Accept": accept, "Content-Type": patch}
        data = json.dumps(body) if body is not None else None
        async with self._http.request(
            verb, f"{self._cluster.url}/{path}", data=data, headers=headers, ssl=self._ssl
        ) as answer:
            found: Object = json.loads(await answer.read())
            if answer.status > 299:
                raise RuntimeError(f"{verb} {path}: {found.get('message')}")
            return found

    async def status(self, plural: str, namespace: str, name: str, status: Object) -> Object:
        return await self.request("PATCH", f"{path_of(plural, namespace, name)}/status", {"status": status})

    async def count(self, plural: str, namespace: str) -> int:
        return len((await self.request("GET", path_of(plural, namespace), accept=METADATA_LIST))["items"])

    async def watch(
        self, plural: str, namespace: str, saw: Callable[[str, Object, float], None], whole: bool = False
    ) -> None:
        """Calls saw(name, object, loop time) for what changes from now on. Only metadata is sent unless `whole`."""
        accept = "application/json" if whole else METADATA
        version = (await self.request("GET", path_of(plural, namespace) + "?limit=1", accept=METADATA_LIST))[
            "metadata"
        ]["resourceVersion"]
        headers = {"Authorization": f"Bearer {self._cluster.token}", "Accept": accept}

        async def follow() -> None:
            clock, last = asyncio.get_running_loop().time, version
            while True:  # the API server ends a watch that does not keep up
                url = f"{self._cluster.url}/{path_of(plural, namespace)}?watch=1&resourceVersion={last}"
                async with self._http.get(
                    url, headers=headers, ssl=self._ssl, timeout=aiohttp.ClientTimeout()
                ) as answer:
                    async for line in answer.content:
                        seen = json.loads(line)
                        if seen["type"] == "ERROR":
                            sys.exit(f"a watch of {plural} was lost: {seen['object'].get('message')}")
                        last = seen["object"]["metadata"]["resourceVersion"]
                        if seen["type"] != "DELETED":
                            saw(seen["object"]["metadata"]["name"], seen["object"], clock())

        self._tasks.add(asyncio.create_task(follow()))

    def stop_watching(self) -> None:
        while self._tasks:
            self._tasks.pop().cancel()


class Seen:
    """When objects were seen for the first time, and a way to wait for so and so many."""

    def __init__(self, holds: Callable[[Object], bool] = lambda _: True) -> None:
        self.at: dict[str, float] = {}
        self._holds = holds

    def __call__(self, name: str, found: Object, now: float) -> None:
        if name not in self.at and self._holds(found):
            self.at[name] = now

    async def until(self, number: int, what: str, seconds: float = 600) -> None:
        end = time.monotonic() + seconds
        while len(self.at) < number:
            if time.monotonic() > end:
                raise SystemExit(f"only {len(self.at)} of {number} {what} after {seconds:.0f} s")
            await asyncio.sleep(0.05)


def path_of(plural: str, namespace: str, name: str = "") -> str:
    return "/".join([KINDS[plural], "namespaces", namespace, plural, *([name] if name else [])])


def rollout_job(name: str) -> Object:
    spec = {
        "model": {"uri": "pvc://models/tiny"},
        "prompts": {"uri": "pvc://data/prompts.jsonl"},
        "rewards": [{"name": "length", "python": {"callable": "rewards:length"}}],
        "output": {"uri": f"pvc://data/runs/{name}"},
    }
    return {"apiVersion": "mora.dev/v1alpha1", "kind": "RolloutJob", "metadata": {"name": name}, "spec": spec}


async def all_of(work: Iterable[Awaitable[Any]], at_once: int = AT_ONCE) -> list[Any]:
    """Await all, so many at a time."""
    limit = asyncio.Semaphore(at_once)

    async def one(each: Awaitable[Any]) -> Any:
        async with limit:
            return await each

    return await asyncio.gather(*(one(each) for each in work))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_of_children() -> Counter[str]:
    """CPU seconds of each program that this script has started: on few cores the API server is what is short of them."""
    pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    used = Counter({"this script": time.process_time()})
    for pid in map(int, pids):
        used[Path(f"/proc/{pid}/comm").read_text().strip()] += cpu_seconds(pid)
    return used


def memory_mib(pid: int) -> dict[str, int]:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM")}


def samples(operator: Operator) -> Counter[tuple[str, ...]]:
    """The operator's counters and gauges: (name, label values …) → value."""
    families = text_string_to_metric_families(operator.metrics())
    found: Counter[tuple[str, ...]] = Counter()
    for sample in itertools.chain.from_iterable(family.samples for family in families):
        found[sample.name, *(sample.labels[key] for key in ("verb", "resource", "code", "result") if key in sample.labels)] += sample.value  # type: ignore[assignment]  # fmt: skip
    return found


@contextmanager
def profiled(pid: int, prefix: str | None, what: str) -> Any:
    """py-spy beside a process, where a prefix of files is named for it: speedscope.app opens what it writes."""
    if not prefix:
        yield
        return
    command = [
        str(Path(sys.executable).parent / "py-spy"),
        "record",
        "--format",
        "raw",
        "--rate",
        "200",
        "--output",
        f"{prefix}.{what}",
        "--pid",
        str(pid),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(1)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)  # it writes its file on this one only
        process.wait()


@asynccontextmanager
async def machinery(options: argparse.Namespace) -> AsyncIterator[tuple[Cluster, Client, Operator]]:
    """A fresh API server with our CRDs and KubeRay's, a client, and an operator that is not started yet."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "operator").mkdir()
        with running(folder, "--max-requests-inflight=800", "--max-mutating-requests-inflight=400") as cluster:
            if lacking := missing(cluster.assets):
                sys.exit(lacking)
            cluster.install_crds()
            install(cluster)
            install_crds(cluster)
            operator = Operator(cluster, folder / "operator", flags=FLAGS, code=options.code)
            connector = aiohttp.TCPConnector(limit=0)
            try:
                async with aiohttp.ClientSession(connector=connector, read_bufsize=2**22) as http:
                    yield cluster, Client(cluster, http), operator
            finally:
                if operator.running:
                    operator.kill()


def percentiles(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}  # fmt: skip


def show(name: str, figures: Object) -> None:
    line = ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in figures.items()
    )
    print(f"{name}: {line}", flush=True)
