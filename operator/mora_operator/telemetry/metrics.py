"""Prometheus metrics of the operator, in a registry of their own. Names of jobs are labels of gauges only."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..packed import PackedJob
from ..times import time_of

WAITS = (5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, float("inf"))
JOB = ["kind", "namespace", "name"]


class Jobs(Protocol):
    """Where the jobs stand that gauges are read from."""

    def jobs(self) -> Iterable[PackedJob]: ...


class Metrics:
    """What the operator counts."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, processor time and open files, by their usual names
        self._requests = Counter(
            "mora_api_requests",
            "Requests to the API server by their answer (0: none)",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self._reports = Counter("mora_progress_reports", "Progress reports by answer", ["code"], registry=registry)
        self.reconciled = Counter("mora_reconciliations", "Reconciliations by result", ["result"], registry=registry)
        self.duration = Histogram("mora_reconcile_duration_seconds", "Time of one reconciliation", registry=registry)
        self.latency = Histogram("mora_queue_latency_seconds", "Time that a key waited", registry=registry)
        self._ended = Counter(
            "mora_job_attempts",
            "Attempts that ended without success, by whose fault it was",
            ["class"],
            registry=registry,
        )
        self._gpu_seconds = Counter(
            "mora_job_gpu_seconds", "GPU-seconds of ended attempts, and those whose work was lost", ["wasted"],
            registry=registry,
        )  # fmt: skip
        self._to_running = Histogram(
            "mora_job_time_to_running_seconds",
            "From a job's first attempt to its driver",
            buckets=WAITS,
            registry=registry,
        )

    def request(self, verb: str, resource: str, status: int) -> None:
        self._requests.labels(verb, resource, str(status)).inc()

    def report(self, status: int) -> None:
        self._reports.labels(str(status)).inc()

    def changed(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Count what a status that was just written tells."""
        newest = (after.get("attemptHistory") or [None])[0]
        if newest is not None and newest["index"] != (before.get("attemptHistory") or [{"index": 0}])[0]["index"]:
            self._ended.labels(newest["class"]).inc()
        used, was = after.get("usage") or {}, before.get("usage") or {}
        for label, name in (("false", "gpuSeconds"), ("true", "wastedGpuSeconds")):
            self._gpu_seconds.labels(label).inc(max(0, used.get(name, 0) - was.get(name, 0)))
        attempt = after.get("currentAttempt") or {}
        if "startTime" in after and "startTime" not in before and attempt.get("startTime"):
            waited = (time_of(after["startTime"]) - time_of(attempt["startTime"])).total_seconds()
            self._to_running.observe(max(0.0, waited))

    def watch(self, depth: Callable[[], float], jobs: Jobs) -> None:
        """Gauges that are read when somebody asks."""
        Gauge("mora_queue_depth", "Keys that wait", registry=self.registry).set_function(depth)
        self.registry.register(JobCollector(jobs))

    def leading(self, holds: Callable[[], bool]) -> None:
        Gauge("mora_leader", "1 on the replica that reconciles", registry=self.registry).set_function(
            lambda: float(holds())
        )

    def text(self) -> bytes:
        return generate_latest(self.registry)


class JobCollector(Collector):
    """One line for each job in the store: its phase, how far it is, and its hypervolume where it has one."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        phases = GaugeMetricFamily("mora_job_info", "Jobs by phase; always 1", labels=[*JOB, "phase"])
        progress = GaugeMetricFamily("mora_job_progress_ratio", "Share of a job that is done", labels=JOB)
        volume = GaugeMetricFamily("mora_job_hypervolume", "Hypervolume of an AlignmentJob's front", labels=JOB)
        for job in self._jobs.jobs():
            names = [job.key.kind, job.key.namespace, job.key.name]
            phases.add_metric([*names, job.phase], 1)
            if job.progress is not None:
                progress.add_metric(names, job.progress)
            if job.hypervolume is not None:
                volume.add_metric(names, job.hypervolume)
        yield from (phases, progress, volume)
