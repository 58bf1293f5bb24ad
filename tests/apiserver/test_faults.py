"""Many jobs over a connection that fails all the time: nothing is lost, nothing is made twice, and nobody runs hot.

The operator reaches the API server through fault_proxy; KubeRay's and the users' part is played directly at the server.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from control_plane import Cluster
from fault_proxy import Fault, FaultPlan, FaultProxy
from kuberay_player import End, KubeRay
from operator_process import Object, install, running_operator, wait_until

# Shares of the requests (of the events, for what befalls watches) that meet each fault: two in five meet one.
RATES = {
    Fault.CONFLICT: 0.03,
    Fault.BUSY: 0.06,
    Fault.BROKEN: 0.06,
    Fault.LATE: 0.06,
    Fault.RESET: 0.045,
    Fault.RESET_LATE: 0.055,
    Fault.SLOW: 0.12,
    Fault.WATCH_GONE: 0.004,
    Fault.WATCH_CUT: 0.03,
    Fault.WATCH_SLOW: 0.02,
}
# What becomes of jobs, in turn. The last one's mistake is final, the one before uses up its budget (backoffLimit: 2).
LIVES: tuple[Sequence[End], ...] = (
    (End.SUSPENDED, End.SUSPENDED, End.SUCCEEDED),
    (End.APP_FAILED, End.SUSPENDED, End.SUCCEEDED),
    (End.SUBMISSION_FAILED, End.APP_FAILED, End.APP_FAILED, End.SUCCEEDED),
    (End.SUSPENDED, End.DELETED, End.SUCCEEDED),
    (End.APP_FAILED, End.APP_FAILED, End.APP_FAILED),
    (End.SUSPENDED, End.VALIDATION_FAILED),
)
COUNTED = {
    End.APP_FAILED: "failed",
    End.VALIDATION_FAILED: "failed",
    End.SUBMISSION_FAILED: "infraRestarts",
    End.DELETED: "infraRestarts",
}
WATCHING = ("list", "watch")
CALLS_PER_EVENT = 3.0
QUIET_SECONDS = 5.0
MOST_RESTARTS = 3  # a lease that cannot be renewed in time is a reason to end, a fault on the way is none


def weather(cluster: Cluster, folder: Path, namespace: str, jobs: int, faults: int, seconds: float) -> None:
    """Run so many jobs until all are over and so many faults have been injected."""
    install(cluster)
    cluster.kubectl("create", "namespace", namespace)
    lives = {f"job-{n:03}": LIVES[n % len(LIVES)] for n in range(jobs)}
    flags = {"namespaces": namespace, "suspend-grace-seconds": 0, "workers": 64, "resync-seconds": 10}
    began = time.monotonic()
    with (
        FaultProxy(cluster) as proxy,
        KubeRay(cluster, namespace) as kuberay,
        running_operator(cluster, folder, server=proxy.url, flags=flags) as operator,
    ):
        proxy.plan = FaultPlan(seed=20260101, rates=RATES, limit=faults)
        restarts = 0
        kuberay.submit(lives, backoffLimit=2)

        def all_over() -> bool:
            nonlocal restarts
            assert not kuberay.errors, kuberay.errors[:5]
            assert not kuberay.book.wrong, kuberay.book.wrong[:5]
            if not operator.running:  # it may end where it cannot go on: the kubelet starts it again
                restarts += 1
                operator.start(wait=False)
            return len(kuberay.jobs) == jobs and set(kuberay.phases().values()) <= {"Complete", "Failed"}

        def left() -> str:
            jobs = [job for job, phase in kuberay.phases().items() if phase not in ("Complete", "Failed")]
            shown = [f"{job}: {kuberay.book.alive[job]} {json.dumps(kuberay.jobs[job]['status'])}" for job in jobs[:3]]
            return f"{len(jobs)} jobs are not over: {jobs[:9]}\n" + "\n".join([*shown, operator.log[-3000:]])

        wait_until(all_over, seconds, left)
        took = time.monotonic() - began
        calls, injected = len(proxy.calls), proxy.faults.copy()
        kinds = Counter(call.what for call in proxy.calls).most_common(5)
        # What gives the operator reason to do something: a watch event, or the timer that a failed request sets.
        timers = sum(1 for call in proxy.calls if call.fault not in (None, Fault.SLOW) and call.verb not in WATCHING)
        events = proxy.events + timers
        proxy.plan = FaultPlan()
        time.sleep(QUIET_SECONDS)  # nothing to wait for: that nothing happens is the point
        late = Counter(
            call.what
            for call in proxy.calls[calls:]
            if call.namespace == namespace and call.verb not in ("list", "watch")
        )
        told = ", ".join(f"{fault}: {count}" for fault, count in sorted(injected.items()))
        print(
            f"\n{jobs} jobs, {len(kuberay.book.created)} RayJobs, {took:.0f} s, {injected.total()} faults ({told}),"
            f" {calls} calls ({kinds}), {proxy.events} watch events and {timers} timers,"
            f" {calls / events:.2f} calls an event, {restarts} restarts; {late.total()} calls afterwards"
        )
        assert not proxy.errors
        assert not kuberay.errors
        assert "Traceback" not in operator.log
        assert restarts <= MOST_RESTARTS
        assert injected.total() == faults, "the jobs were over before all faults were injected: raise the rates"

        assert not kuberay.book.wrong, kuberay.book.wrong[:5]
        attempts = {f"{job}-a{n}" for job, life in lives.items() for n in range(1, len(life) + 1)}
        assert set(kuberay.book.created) == attempts
        wrong = [text for job, life in lives.items() for text in faults_of(kuberay.jobs[job], life)]
        assert not wrong, f"{len(wrong)} statuses are wrong:\n" + "\n".join(wrong[:10])
        assert calls <= CALLS_PER_EVENT * events
        assert late.total() <= jobs * 0.05, late  # the last events of the last jobs may still be under way


def faults_of(job: Object, life: Sequence[End]) -> list[str]:
    """What is wrong with the status of a job that is over."""
    status, name = job["status"], job["metadata"]["name"]
    failed = life[-1] is not End.SUCCEEDED
    counters = Counter(COUNTED[end] for end in life if end in COUNTED)
    conditions = {each["type"]: each["status"] for each in status["conditions"]}
    history = [end.value for end in reversed(life) if end is not End.SUCCEEDED]
    found = {
        "phase": (status["phase"], "Failed" if failed else "Complete"),
        "Complete": (conditions["Complete"], str(not failed)),
        "Failed": (conditions["Failed"], str(failed)),
        "Reconciling": (conditions["Reconciling"], "False"),
        "counters": (status["attempts"], {"failed": 0, "infraRestarts": 0, "current": len(life)} | counters),
        "history": ([past["reason"] for past in status.get("attemptHistory", [])], history),
        "attempt": (status["currentAttempt"]["rayJobName"], f"{name}-a{len(life)}"),
        "generation": (job["metadata"]["generation"], 1 + 2 * list(life).count(End.SUSPENDED)),
    }
    return [f"{name}: {what} is {is_}, not {should}" for what, (is_, should) in found.items() if is_ != should]


def test_jobs_live_through_a_connection_that_fails_all_the_time(cluster: Cluster, tmp_path: Path) -> None:
    weather(cluster, tmp_path, "faults", jobs=50, faults=800, seconds=120)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_thousand_faults_over_five_hundred_jobs(cluster: Cluster, tmp_path: Path) -> None:
    weather(cluster, tmp_path, "many-faults", jobs=500, faults=10_000, seconds=900)
