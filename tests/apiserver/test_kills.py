"""The operator is killed (-9) after every single API call of a job's life, one run each, and started again.

A run's kill comes when the API server has answered the n-th call and before the operator hears of it. (A kill after the
answer was delivered, and before the next call, leaves the same behind: what the operator knew dies with it.)
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from control_plane import Cluster
from fault_proxy import Call, FaultProxy
from kuberay_player import End, KubeRay
from operator_process import Api, Object, Operator, install, wait_until

NAMESPACE = "kills"
# An attempt that fails and is retried, one that is suspended and resumed, one that succeeds; then its time is over.
LIFE = (End.APP_FAILED, End.SUSPENDED, End.SUCCEEDED)
SECONDS = 30
MADE = ("rayjob", "configmap", "serviceaccount", "networkpolicy")
TIMES = re.compile(r'"(\w*Time|\w+Seconds)": ("[^"]*"|\d+)')


def of_start(call: Call) -> bool:
    """Calls of an operator that starts: discovery, lists, watches. Their order varies."""
    return call.verb in ("list", "watch") or not call.resource


def of_life(call: Call) -> bool:
    """Calls that are made for a job: the same ones in the same order, each time."""
    return call.namespace == NAMESPACE and not of_start(call)


def of_itself(call: Call) -> bool:
    """Calls for what an operator keeps in its own namespace (its lease, its certificate authority)."""
    return bool(call.namespace) and call.namespace != NAMESPACE and not of_start(call)


@dataclass
class Stage:
    """What the runs share."""

    api: Api
    proxy: FaultProxy
    kuberay: KubeRay
    operator: Operator

    def whole_life(self, job: str, kill: tuple[Callable[[Call], bool], int] | None = None) -> tuple[Any, list[Call]]:
        """A job from its creation to its deletion: what is left of it, and the calls that were made.

        With a `kill`, the operator is killed after the n-th matching call and started again.
        """
        before = len(self.proxy.calls)
        trap = self.proxy.trap(self.operator.kill, kill[0], kill[1]) if kill else None
        self.kuberay.submit({job: LIFE})
        if not self.operator.running:
            self.operator.start(wait=False)

        def reaches(holds: Callable[[], bool]) -> bool:
            if trap is not None and trap.sprung.is_set() and not self.operator.running:
                self.operator.start(wait=False)
            return holds()

        def await_(what: str, holds: Callable[[], bool]) -> None:
            wait_until(lambda: reaches(holds), SECONDS, lambda: f"not {what}: {self._tell(job)}")

        await_("complete", lambda: self.kuberay.phases().get(job) == "Complete")
        self.api.merge("rolloutjob", job, {"spec": {"ttlSecondsAfterFinished": 0}})
        await_("gone", lambda: job in self.kuberay.gone)
        if trap is not None:
            await_("killed: there was no such call", trap.sprung.is_set)
            await_("started again", lambda: self.operator.running)
        return self._left(job), self.proxy.calls[before:]

    def _left(self, job: str) -> Any:
        """Final status and all objects of the job, without times, under a name that every run has."""
        gone = self.kuberay.gone[job]
        made = [(kind, thing) for kind in MADE for thing in self._labelled(kind, job)]
        for kind, thing in made:
            name = thing["metadata"]["name"]
            (owner,) = [owner["uid"] for owner in thing["metadata"]["ownerReferences"]]
            # The garbage collector takes what belongs to the job, or to the RayJob that it is named after.
            assert owner in [gone["metadata"]["uid"], *self.kuberay.book.created.get(name, [])], (
                f"{kind} {name}: {owner}"
            )
        found = {
            "status": gone["status"],
            "made": sorted(f"{kind} {thing['metadata']['name']}" for kind, thing in made),
        }
        return json.loads(TIMES.sub(r'"\1": 0', json.dumps(found)).replace(job, "JOB"))

    def _labelled(self, kind: str, job: str) -> list[Object]:
        listed = self.api.get(kind)
        assert listed is not None
        items: list[Object] = listed["items"]
        return [thing for thing in items if thing["metadata"].get("labels", {}).get("mora.dev/name") == job]

    def _tell(self, job: str) -> str:
        job_now = self.kuberay.jobs.get(job) or self.kuberay.gone.get(job) or {}
        log = "\n".join(line for line in self.operator.log.splitlines()[-200:] if job in line)
        return f"{json.dumps(job_now.get('status'), indent=1)}\n{self.kuberay.book.wrong}\n{log}"


@pytest.fixture(scope="module")
def stage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    install(cluster)
    cluster.kubectl("create", "namespace", NAMESPACE)
    # No grace: nobody plays the driver that would say that it has saved.
    flags = {"namespaces": NAMESPACE, "suspend-grace-seconds": 0}
    with FaultProxy(cluster) as proxy, KubeRay(cluster, NAMESPACE, patient=True) as kuberay:
        operator = Operator(cluster, tmp_path_factory.mktemp("killed"), server=proxy.url, flags=flags)
        yield Stage(Api(cluster, NAMESPACE), proxy, kuberay, operator)
        if operator.running:
            operator.kill()
        assert not proxy.errors
        assert not kuberay.errors


def each_kind_once(calls: list[Call]) -> list[int]:
    """Calls that stand for all: of each verb and resource the last, when most has happened that can be lost."""
    return sorted({call.what if call.resource else "discovery": n for n, call in enumerate(calls, 1)}.values())


def kill_after(stage: Stage, select: Callable[[list[Call]], Iterable[int]]) -> None:
    """Kill after each call that is selected, in a run of its own, and compare with a life in which nobody is killed."""
    undisturbed, calls = stage.whole_life("undisturbed")
    assert undisturbed["status"]["attempts"] == {"current": 3, "failed": 1, "infraRestarts": 0}
    assert [past["reason"] for past in undisturbed["status"]["attemptHistory"]] == ["Suspended", "AppFailed"]
    runs, failures = 0, []
    begins = next(n for n, call in enumerate(calls) if of_life(call))
    for matches in (of_start, of_itself, of_life):
        # A lease is renewed for as long as an operator lives: only what comes before the job's turn comes in every run.
        matching = [call for call in (calls[:begins] if matches is of_itself else calls) if matches(call)]
        for n in select(matching):
            runs += 1
            job = f"{matches.__name__.replace('_', '-')}-{n}-killed"
            what = f"{matches.__name__} {n} of {len(matching)} ({matching[n - 1].what})"
            if matches is not of_life and stage.operator.running:
                stage.operator.kill()
            try:
                left, _ = stage.whole_life(job, (matches, n))
                assert left == undisturbed
                assert not stage.kuberay.book.wrong
            except AssertionError as error:
                failures.append(f"killed after {what}: {error}")
                stage.kuberay.book.wrong.clear()
    print(f"{len(calls)} calls in a life, {runs} kills, {len(failures)} lives went wrong")
    assert not failures, f"{len(failures)} of {runs} kills:\n" + "\n\n".join(failures)


def test_a_kill_after_each_kind_of_call_changes_nothing(stage: Stage) -> None:
    kill_after(stage, each_kind_once)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_kill_after_any_call_changes_nothing(stage: Stage) -> None:
    kill_after(stage, lambda calls: range(1, len(calls) + 1))
