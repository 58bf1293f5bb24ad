"""Prometheus metrics of the operator, in a registry of their own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """What the operator counts. Labels are few and bounded: no names of jobs."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "mora_api_requests",
            "Requests to the API server by their answer (0: none)",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self._reports = Counter(
            "mora_progress_reports", "Progress reports by answer", ["code"], registry=self.registry
        )
        self.reconciled = Counter(
            "mora_reconciliations", "Reconciliations by result", ["result"], registry=self.registry
        )
        self.duration = Histogram(
            "mora_reconcile_duration_seconds", "Time of one reconciliation", registry=self.registry
        )
        self.latency = Histogram("mora_queue_latency_seconds", "Time that a key waited", registry=self.registry)

    def request(self, verb: str, resource: str, status: int) -> None:
        self._requests.labels(verb, resource, str(status)).inc()

    def report(self, status: int) -> None:
        self._reports.labels(str(status)).inc()

    def watch(self, depth: Callable[[], float], jobs: Callable[[], float]) -> None:
        """Gauges that are read when somebody asks."""
        Gauge("mora_queue_depth", "Keys that wait", registry=self.registry).set_function(depth)
        Gauge("mora_jobs", "Jobs in the store", registry=self.registry).set_function(jobs)

    def text(self) -> bytes:
        return generate_latest(self.registry)
