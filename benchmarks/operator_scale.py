"""How many jobs the operator can serve: real etcd, kube-apiserver, operator process, and KubeRay's controller to compare.

    python benchmarks/operator_scale.py burst    500 RolloutJobs at once: jobs/s until their RayJobs and all other objects
                                                 exist; then KubeRay's RayJob → RayCluster and pods on the same API server
    python benchmarks/operator_scale.py scale    1,000 active and 5,000 finished jobs: cold start, memory, latencies, and
                                                 writes to the API server while every driver reports every 15 seconds

No kubelet and no Ray are there: pods stay pending, and the benchmark writes the status of RayJobs where it needs them to
run. One controller works at a time. Everything shares the machine, this script with its watches and drivers included.
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from operator_bench import (
    INTERVAL,
    Client,
    Cluster,
    Object,
    Operator,
    Seen,
    all_of,
    cpu_of_children,
    cpu_seconds,
    machinery,
    memory_mib,
    path_of,
    percentiles,
    profiled,
    rollout_job,
    running_kuberay,
    samples,
    show,
)

CHILDREN = ("configmaps", "serviceaccounts", "networkpolicies", "rayjobs")
# The part of KubeRay's status that makes it large.
RAY_CLUSTER_STATUS = {"state": "ready", "desiredCPU": "1500m", "desiredMemory": "6Gi", "desiredWorkerReplicas": 1, "head": {"podIP": "10.0.0.9", "podName": "x", "serviceName": "x-head-svc"}}  # fmt: skip
EXIT = {"class": "Success", "reason": "Complete", "message": ""}


# --- burst ----------------------------------------------------------------------------------------------------------


async def burst(options: argparse.Namespace) -> Object:
    async with machinery(options) as (cluster, client, operator):
        parts = {"burst-0": options.jobs * 3 // 5, "burst-1": options.jobs - options.jobs * 3 // 5}
        for namespace in (*parts, "backlog"):
            cluster.kubectl("create", "namespace", namespace)
        operator.start()
        assert operator.process is not None
        pid, clock, rayjobs = operator.process.pid, asyncio.get_running_loop().time, Seen()
        for namespace in parts:
            await client.watch("rayjobs", namespace, rayjobs)
        names = [(namespace, f"{namespace}-{i}") for namespace, number in parts.items() for i in range(number)]
        with profiled(pid, options.profile, "burst"):
            start, cpu, shares = clock(), cpu_seconds(pid), cpu_of_children()
            await all_of(
                client.request("POST", path_of("rolloutjobs", part), rollout_job(name)) for part, name in names
            )
            created = clock() - start
            await rayjobs.until(options.jobs, "RayJobs")
            seconds, cpu = max(rayjobs.at.values()) - start, cpu_seconds(pid) - cpu
            show("CPU seconds", cpu_of_children() - shares)
        for plural, namespace in itertools.product(CHILDREN, parts):
            assert await client.count(plural, namespace) == parts[namespace], plural
        result = {"jobs": options.jobs, "created_s": created, "seconds": seconds, "per_second": options.jobs / seconds, "cpu_ms_per_job": 1000 * cpu / options.jobs}  # fmt: skip
        show("operator, burst", result)
        results: Object = {"operator_burst": result, "operator_backlog": await backlog(client, operator, options.jobs)}
        client.stop_watching()
        operator.stop()
        for name, namespace, flags in (
            ("concurrency_10", "burst-0", ["--reconcile-concurrency=10"]),
            ("defaults", "burst-1", []),
        ):
            results[f"kuberay_{name}"] = await kuberay(cluster, client, namespace, parts[namespace], flags)
            ratio = result["per_second"] / results[f"kuberay_{name}"]["per_second"]
            results[f"ratio_to_{name}"] = ratio
            print(f"operator (burst) / KubeRay ({name}): {ratio:.1f}", flush=True)
        return results


async def backlog(client: Client, operator: Operator, jobs: int) -> Object:
    """The jobs are there before the operator is: from the first RayJob to the last, nobody else asks for anything."""
    operator.stop()
    await all_of(
        client.request("POST", path_of("rolloutjobs", "backlog"), rollout_job(f"backlog-{i}")) for i in range(jobs)
    )
    rayjobs = Seen()
    await client.watch("rayjobs", "backlog", rayjobs)
    await asyncio.to_thread(operator.start)
    await rayjobs.until(jobs, "RayJobs")
    seconds = max(rayjobs.at.values()) - min(rayjobs.at.values())
    result = {"jobs": jobs, "seconds": seconds, "per_second": (jobs - 1) / seconds}
    show("operator, backlog", result)
    return result


async def kuberay(cluster: Cluster, client: Client, namespace: str, jobs: int, flags: list[str]) -> Object:
    """From the first RayCluster to the last pod, for RayJobs that are there before the controller is."""
    clusters, pods = Seen(), Seen()
    await client.watch("rayclusters", namespace, clusters)
    await client.watch("pods", namespace, pods)
    with running_kuberay(cluster, cluster.folder, f"--watch-namespace={namespace}", *flags) as process:
        await pods.until(2 * jobs, "pods of KubeRay")
        seconds = max(pods.at.values()) - min(clusters.at.values())
        cpu = cpu_seconds(process.pid)
    client.stop_watching()
    result = {"jobs": jobs, "seconds": seconds, "per_second": jobs / seconds, "cpu_ms_per_job": 1000 * cpu / jobs}
    show(f"KubeRay {' '.join(flags) or 'with its defaults'}", result)
    return result


# --- scale ----------------------------------------------------------------------------------------------------------


async def scale(options: argparse.Namespace) -> Object:
    async with machinery(options) as (cluster, client, operator):
        cluster.kubectl("create", "namespace", "team")
        operator.start()
        running_jobs = Seen(lambda job: job.get("status", {}).get("phase") == "Running")
        complete = Seen(lambda job: job.get("status", {}).get("phase") == "Complete")
        rayjobs = Seen()

        async def watch() -> None:
            await client.watch("rayjobs", "team", rayjobs)
            for seen in (running_jobs, complete):
                await client.watch("rolloutjobs", "team", seen, whole=True)

        await watch()
        jobs = await start_jobs(
            client, rayjobs, running_jobs, ["model", *(f"active-{i}" for i in range(options.active))]
        )
        model, active = jobs[0], jobs[1:]
        drivers = Drivers(client, operator)
        await drivers.report(model, {**report_of(100), "exit": EXIT})
        await client.status("rayjobs", "team", "model-a1", rayjob_status("model-a1", "Complete"))
        await complete.until(1, "complete job", 30)
        print(f"{len(active)} active jobs run", flush=True)
        operator.stop()
        client.stop_watching()
        await add_finished(client, options.finished)
        results: Object = {"cold_start": await cold_start(operator, options)}
        await watch()
        results |= await arrivals(client, rayjobs, running_jobs, options)
        client.stop_watching()
        results["reports"] = await drivers.steady(active, options)
        assert operator.process is not None
        results["memory_mib"] = memory_mib(operator.process.pid)
        show("memory at the end, MiB", results["memory_mib"])
        return results


async def start_jobs(client: Client, rayjobs: Seen, running_jobs: Seen, names: list[str]) -> list[Object]:
    """Jobs whose RayJobs the operator made, and which run as far as KubeRay's status says."""
    before = len(rayjobs.at)
    made = await all_of(client.request("POST", path_of("rolloutjobs", "team"), rollout_job(name)) for name in names)
    await rayjobs.until(before + len(names), "RayJobs")
    await all_of(
        client.status("rayjobs", "team", f"{name}-a1", rayjob_status(f"{name}-a1", "Running")) for name in names
    )
    await running_jobs.until(before + len(names), "running jobs")
    return made


def rayjob_status(name: str, state: str) -> Object:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    status: Object = {"jobDeploymentStatus": state, "jobStatus": "RUNNING", "jobId": f"{name}-j", "startTime": now}
    status |= {
        "rayClusterName": f"{name}-c",
        "rayClusterStatus": RAY_CLUSTER_STATUS,
        "dashboardURL": f"{name}-c-head-svc.team.svc.cluster.local:8265",
    }
    return status | ({"jobStatus": "SUCCEEDED", "endTime": now} if state == "Complete" else {})


async def add_finished(client: Client, number: int) -> None:
    """Copies of the job that ended, each with its RayJob, which stays as long as the job does."""
    start = time.monotonic()
    job = await client.request("GET", path_of("rolloutjobs", "team", "model"))
    rayjob = await client.request("GET", path_of("rayjobs", "team", "model-a1"))

    async def add(name: str) -> None:
        made = await client.request("POST", path_of("rolloutjobs", "team"), rollout_job(name))
        status = json.loads(json.dumps(job["status"]).replace("model-a1", f"{name}-a1"))
        await client.status("rolloutjobs", "team", name, status)
        owner = rayjob["metadata"]["ownerReferences"][0] | {"name": name, "uid": made["metadata"]["uid"]}
        metadata = {"name": f"{name}-a1", "ownerReferences": [owner]}
        metadata["labels"] = rayjob["metadata"]["labels"] | {"mora.dev/name": name}
        body = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": rayjob["spec"]}
        await client.request("POST", path_of("rayjobs", "team"), body)
        await client.status("rayjobs", "team", f"{name}-a1", rayjob_status(f"{name}-a1", "Complete"))

    await all_of(add(f"done-{i}") for i in range(number))
    print(f"{number} finished jobs with their RayJobs added in {time.monotonic() - start:.0f} s", flush=True)


async def cold_start(operator: Operator, options: argparse.Namespace) -> Object:
    """From the start of the process until it is ready, and until it has looked at every job and has nothing to do."""
    jobs = options.active + options.finished + 1
    start = time.monotonic()
    operator.start(wait=False)
    assert operator.process is not None
    with profiled(operator.process.pid, options.profile, "cold"):
        while not await asyncio.to_thread(operator.is_ready):
            await asyncio.sleep(0.2)
        ready = time.monotonic() - start
        quiet = 0
        while quiet < 3:  # three looks in a row at an operator that has nothing to do
            await asyncio.sleep(0.5)
            now = await asyncio.to_thread(samples, operator)
            idle = now["mora_reconciliations_total", "done"] >= jobs and not now["mora_queue_depth",]
            quiet = quiet + 1 if idle else 0
    handled = time.monotonic() - start - 0.5 * 3
    result = {
        "ready_s": ready,
        "handled_s": handled,
        "cpu_s": cpu_seconds(operator.process.pid),
        **memory_mib(operator.process.pid),
    }
    show("cold start", result)
    return result


async def arrivals(client: Client, rayjobs: Seen, running_jobs: Seen, options: argparse.Namespace) -> Object:
    """Five jobs a second arrive, and five RayJobs a second change, among all that are there."""
    clock = asyncio.get_running_loop().time
    names, created, changed = [f"new-{i}" for i in range(options.seconds * 5)], {}, {}

    async def spread(act: Callable[[str], Awaitable[None]]) -> None:
        begin, tasks = clock(), []
        for i, name in enumerate(names):
            await asyncio.sleep(begin + i / 5 - clock())
            tasks.append(asyncio.ensure_future(act(name)))
        await asyncio.gather(*tasks)

    async def create(name: str) -> None:
        created[f"{name}-a1"] = clock()
        await client.request("POST", path_of("rolloutjobs", "team"), rollout_job(name))

    async def change(name: str) -> None:
        changed[name] = clock()
        await client.status("rayjobs", "team", f"{name}-a1", rayjob_status(f"{name}-a1", "Running"))

    before = len(rayjobs.at), len(running_jobs.at)
    await spread(create)
    await rayjobs.until(before[0] + len(names), "RayJobs", 60)
    await spread(change)
    await running_jobs.until(before[1] + len(names), "running jobs", 60)
    result = {
        "job_to_rayjob_s": percentiles(rayjobs.at[name] - at for name, at in created.items()),
        "rayjob_to_status_s": percentiles(running_jobs.at[name] - at for name, at in changed.items()),
    }
    for name, figures in result.items():
        show(name, figures)
    return result


class Drivers:
    """What the drivers of jobs do: each has a token of its own, and makes a connection for every report."""

    def __init__(self, client: Client, operator: Operator) -> None:
        self._client, self._operator = client, operator
        self._tokens: dict[str, str] = {}

    async def token(self, job: Object) -> None:
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        audience = f"mora.dev/team/RolloutJob/{name}/{uid}/1"
        body = {"spec": {"audiences": [audience], "expirationSeconds": 3600}}
        made = await self._client.request("POST", f"{path_of('serviceaccounts', 'team', f'{name}-rlj')}/token", body)
        self._tokens[name] = made["status"]["token"]

    async def trust(self, name: str) -> ssl.SSLContext:
        config = await self._client.request("GET", path_of("configmaps", "team", f"{name}-a1"))
        return ssl.create_default_context(cadata=config["data"]["ca.crt"])

    async def report(self, job: Object, body: Object) -> None:
        await self.token(job)
        context = await self.trust(job["metadata"]["name"])
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, ssl=context)) as http:
            await self._post(http, job["metadata"]["name"], body)

    async def _post(self, http: aiohttp.ClientSession, name: str, body: Object) -> None:
        url = f"{self._operator.progress}/team/rolloutjobs/{name}/1"
        headers = {"Authorization": f"Bearer {self._tokens[name]}"}
        async with http.post(url, json=body, headers=headers) as answer:
            if answer.status != 200:
                raise RuntimeError(f"{answer.status} {await answer.text()}")

    async def steady(self, jobs: list[Object], options: argparse.Namespace) -> Object:
        """All drivers report every 15 seconds. After the first round, two minutes are looked at: a review of a token
        holds for so long, so that each is reviewed once in them."""
        await all_of(self.token(job) for job in jobs)
        clock, waits, failed, tasks = asyncio.get_running_loop().time, [], [], []
        assert self._operator.process is not None
        pid, window = self._operator.process.pid, options.report_seconds
        context = await self.trust(jobs[0]["metadata"]["name"])

        async def drive(i: int, name: str) -> None:
            # Pods have addresses of their own, and the endpoint takes only so many reports from each.
            connector = aiohttp.TCPConnector(
                force_close=True, ssl=context, family=socket.AF_INET, local_addr=(f"127.1.{i // 250}.{i % 250 + 1}", 0)
            )
            begin = clock() + i * INTERVAL / len(jobs)
            async with aiohttp.ClientSession(connector=connector) as http:
                for turn in itertools.count():
                    await asyncio.sleep(begin + turn * INTERVAL - clock())
                    start = clock()
                    try:
                        await self._post(http, name, report_of(turn))
                        waits.append(clock() - start)
                    except (RuntimeError, aiohttp.ClientError) as error:
                        failed.append(str(error))

        for i, job in enumerate(jobs):
            tasks.append(asyncio.create_task(drive(i, job["metadata"]["name"])))
        await asyncio.sleep(INTERVAL)
        before, cpu, start = await asyncio.to_thread(samples, self._operator), cpu_seconds(pid), clock()
        waits.clear()
        with profiled(pid, options.profile, "reports"):
            await asyncio.sleep(window)
        after, seconds = await asyncio.to_thread(samples, self._operator), clock() - start
        for task in tasks:
            task.cancel()
        told = after - before
        requests = {key[1:]: told[key] / seconds for key in told if key[0] == "mora_api_requests_total"}
        writes = {" ".join(key): rate for key, rate in requests.items() if key[0] != "GET"}
        # A TokenReview is a POST, and the API server checks a signature for it; nothing is stored.
        stored = sum(rate for name, rate in writes.items() if "tokenreviews" not in name)
        result = {
            "drivers": len(jobs),
            "reports_per_s": len(waits) / seconds,
            "failed": len(failed),
            "stored_writes_per_s": stored,
            "all_writes_per_s": sum(writes.values()),
            "reads_per_s": sum(requests.values()) - sum(writes.values()),
            "cpu_cores": (cpu_seconds(pid) - cpu) / seconds,
        }
        show("reports", result)
        show("requests per second", writes)
        show("seconds until a report is answered", percentiles(waits))
        if failed:
            print(Counter(failed).most_common(3), flush=True)
        return result | {"writes_per_s": writes, "answer_s": percentiles(waits)}


def report_of(turn: int) -> Object:
    """As a driver of a RolloutJob sends it."""
    progress = {"progressPercentage": min(turn, 100), "completed": turn, "total": 1000, "unit": "Prompts", "stage": "Rollouts", "estimatedRemainingSeconds": 900}  # fmt: skip
    counts = {"prompts": {"total": 1000, "completed": turn, "failed": 0}, "samples": turn * 16, "tokens": {"prompt": turn * 90, "generated": turn * 900}}  # fmt: skip
    metrics = [
        {"name": name, "value": str(turn)}
        for name in ("prompts_per_second", "tokens_per_second", "reward_mean_length")
    ]
    return {"progress": progress, "metrics": metrics, "result": {"rollouts": counts}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["burst", "scale"])
    parser.add_argument(
        "--jobs", type=int, default=500, help="jobs of `burst`; KubeRay gets 3/5 of them, then the rest"
    )
    parser.add_argument("--active", type=int, default=1000)
    parser.add_argument("--finished", type=int, default=5000)
    parser.add_argument("--seconds", type=int, default=60, help="for how long 5 jobs arrive each second")
    parser.add_argument("--report-seconds", type=int, default=120, help="for how long reports are looked at")
    parser.add_argument("--code", type=Path, help="root of another checkout, whose operator is run instead")
    parser.add_argument(
        "--profile", metavar="PREFIX", help="stacks of the operator (py-spy): PREFIX.burst, .cold, .reports"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    results = asyncio.run({"burst": burst, "scale": scale}[options.what](options))
    text = json.dumps(results, indent=1)
    if options.json:
        options.json.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
