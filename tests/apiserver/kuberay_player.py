"""Plays KubeRay and the users of many jobs at once, directly at the API server, and keeps book of every RayJob.

As KubeRay 1.6 does, it puts a finalizer on each RayJob: a deleted one stays for a moment, with a deletionTimestamp.
There is no garbage collector in these tests: what is deleted was deleted by the operator (or by the player).
"""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

import aiohttp
from control_plane import Cluster
from operator_process import PATHS, Object
from small_job import small_job

FINALIZER = "ray.io/rayjob-finalizer"
JOB_LABEL, ATTEMPT_LABEL = "mora.dev/name", "mora.dev/attempt"


class End(StrEnum):
    """What becomes of an attempt that runs. The values are what status.attemptHistory says of it."""

    SUCCEEDED = "Complete"
    APP_FAILED = "AppFailed"
    SUBMISSION_FAILED = "SubmissionFailed"
    VALIDATION_FAILED = "ValidationFailed"
    SUSPENDED = "Suspended"  # by the user, who resumes the job as soon as it is suspended
    DELETED = "RayJobDeleted"  # from outside


def initializing(name: str) -> Object:
    return {"jobDeploymentStatus": "Initializing", "rayClusterName": f"{name}-c", "jobId": f"{name}-j"}


def running(name: str) -> Object:
    # It began an hour ago, so that it does not count as a short attempt, after which the operator waits ever longer.
    started = {"startTime": _text(-3600), "rayJobInfo": {"startTime": _text(-3600)}}
    return initializing(name) | started | {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}


def over(name: str, end: End) -> Object:
    # It ended 20 seconds ago: the 10 seconds before the next attempt are over when the operator hears of it.
    common = running(name) | {"endTime": _text(-20)}
    match end:
        case End.SUCCEEDED:
            return common | {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "succeeded": 1}
        case End.VALIDATION_FAILED:
            return {"jobDeploymentStatus": "ValidationFailed", "reason": end.value, "message": "not valid"}
        case End.SUBMISSION_FAILED:
            return common | {"jobDeploymentStatus": "Failed", "jobStatus": "", "reason": end.value, "failed": 1}
        case _:
            return common | {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": end.value, "failed": 1}


class Book:
    """What a watch has shown of the RayJobs of a namespace, in the order in which it took place."""

    def __init__(self) -> None:
        self.created: dict[str, list[str]] = {}  # RayJob → the uids that it has had
        self.alive: dict[str, set[str]] = {}  # job → RayJobs that exist
        self.wrong: list[str] = []

    def saw(self, kind: str, rayjob: Object) -> None:
        name, job = rayjob["metadata"]["name"], rayjob["metadata"]["labels"][JOB_LABEL]
        alive = self.alive.setdefault(job, set())
        if kind == "ADDED":
            if alive:
                self.wrong.append(f"{name} was created while {', '.join(alive)} existed")
            if name in self.created:
                self.wrong.append(f"{name} was created again")
            self.created.setdefault(name, []).append(rayjob["metadata"]["uid"])
            alive.add(name)
        elif kind == "DELETED":
            alive.discard(name)


class KubeRay:
    """Runs in a thread of its own while it is entered; `lives` says how each attempt of each job ends.

    With `patient`, a step follows only when the operator has written down the one before it: every run of a life then
    takes the same course. Without it, the operator may miss steps, as it may in a cluster.
    """

    def __init__(self, cluster: Cluster, namespace: str, patient: bool = False) -> None:
        self._cluster, self._namespace, self._patient = cluster, namespace, patient
        self.lives: dict[str, Sequence[End]] = {}
        self.jobs: dict[str, Object] = {}  # as they are now
        self.gone: dict[str, Object] = {}  # as they were last
        self.book = Book()
        self.errors: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()

    def submit(self, lives: dict[str, Sequence[End]], **spec: Any) -> None:
        """Create jobs."""
        self.lives |= lives
        self._run(self._submit(list(lives), spec))

    def phases(self) -> dict[str, str]:
        return {name: (job.get("status") or {}).get("phase", "") for name, job in self.jobs.items()}

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    # ---------------------------------------------------------------- in the player's thread
    def _run(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(120)

    async def _start(self) -> None:
        context = ssl.create_default_context(cafile=str(self._cluster.ca))
        self._http = aiohttp.ClientSession(
            base_url=self._cluster.url,
            connector=aiohttp.TCPConnector(ssl=context, limit=32),
            headers={"Authorization": f"Bearer {self._cluster.token}"},
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=2**22,
        )
        self._spawn(self._watch("rolloutjob", self._saw_job))
        self._spawn(self._watch("rayjob", self._saw_rayjob))

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.close()

    def _spawn(self, what: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(repr(error))

    async def _watch(self, kind: str, saw: Callable[[str, Object], None]) -> None:
        """All events from the beginning on. The API server ends watches that are read too slowly; they go on."""
        version = "0"
        while True:
            query = {"watch": "1", "timeoutSeconds": "3600", "resourceVersion": version}
            async with self._http.get(self._path(kind), params=query) as answer:
                if answer.status == 429:
                    await asyncio.sleep(0.1)  # "storage is (re)initializing": the kind is new
                    continue
                assert answer.status == 200, await answer.text()
                while line := await answer.content.readline():
                    event = json.loads(line)
                    assert event["type"] != "ERROR", event
                    version = event["object"]["metadata"]["resourceVersion"]
                    saw(event["type"], event["object"])
                    changed, self._changed = self._changed, asyncio.Event()
                    changed.set()

    def _saw_job(self, event: str, job: Object) -> None:
        name = job["metadata"]["name"]
        self.jobs[name] = job
        if event == "DELETED":
            self.gone[name] = self.jobs.pop(name)

    def _saw_rayjob(self, event: str, rayjob: Object) -> None:
        self.book.saw(event, rayjob)
        name = rayjob["metadata"]["name"]
        if event == "ADDED":
            self._spawn(self._play(name, rayjob["metadata"]["labels"]))
        elif event == "MODIFIED" and "deletionTimestamp" in rayjob["metadata"]:
            self._spawn(self._patch("rayjob", name, {"metadata": {"finalizers": None}}))

    async def _play(self, name: str, labels: dict[str, str]) -> None:
        """The life of one RayJob."""
        job, attempt = labels[JOB_LABEL], int(labels[ATTEMPT_LABEL])
        if len(self.lives[job]) < attempt:
            self.book.wrong.append(f"{name}: there should have been {len(self.lives[job])} attempts")
            return
        end = self.lives[job][attempt - 1]
        await self._patch("rayjob", name, {"metadata": {"finalizers": [FINALIZER]}})
        if end is not End.VALIDATION_FAILED:
            await self._settled(job, attempt, "ProvisioningCluster")
            await self._patch("rayjob", f"{name}/status", {"status": initializing(name)})
            await self._settled(job, attempt, "ProvisioningCluster", f"{name}-c")
            await self._patch("rayjob", f"{name}/status", {"status": running(name)})
            await self._settled(job, attempt, "Running", f"{name}-c")
        match end:
            case End.SUSPENDED:
                changed = await self._patch("rolloutjob", job, {"spec": {"suspend": True}})
                await self._until(lambda: self._is_suspended(job, changed["metadata"]["generation"]))
                await self._patch("rolloutjob", job, {"spec": {"suspend": False}})
            case End.DELETED:
                # An attempt that goes before the operator has heard that its create took place was never there for it.
                await self._until(lambda: self._attempt(job).get("index") == attempt)
                async with self._http.delete(self._path("rayjob", name)) as answer:
                    assert answer.status in (200, 404), await answer.text()
            case _:
                await self._patch("rayjob", f"{name}/status", {"status": over(name, end)})

    def _attempt(self, job: str) -> Object:
        return (self.jobs[job].get("status") or {}).get("currentAttempt") or {}

    def _is_suspended(self, job: str, generation: int) -> bool:
        """By now, and not only since the last time that it was."""
        status = self.jobs[job].get("status") or {}
        told = status.get("observedGeneration", 0) >= generation and status["phase"] == "Suspended"
        # An operator that has not heard yet that its create took place says too early that all is suspended.
        return told and not self.book.alive[job]

    async def _settled(self, job: str, attempt: int, reason: str, cluster: str | None = None) -> None:
        """Until the operator has told of this step (where the player is patient)."""
        if not self._patient:
            return

        def told() -> bool:
            conditions = (self.jobs[job].get("status") or {}).get("conditions", [])
            ready = [each["reason"] for each in conditions if each["type"] == "Ready"]
            known = cluster is None or self._attempt(job).get("rayClusterName") == cluster
            return ready == [reason] and self._attempt(job).get("index") == attempt and known

        await self._until(told)
        if self._attempt(job).get("rayClusterName") != cluster:
            self.book.wrong.append(
                f"attempt {attempt} of {job} is said to run on {self._attempt(job)['rayClusterName']}"
            )

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._changed.wait()

    async def _submit(self, names: list[str], spec: Object) -> None:
        await asyncio.gather(*(self._create(name, spec) for name in names))

    async def _create(self, name: str, spec: Object) -> None:
        async with self._http.post(self._path("rolloutjob"), json=small_job(name, **spec)) as answer:
            assert answer.status == 201, await answer.text()

    async def _patch(self, kind: str, name: str, body: Object) -> Object:
        headers = {"Content-Type": "application/merge-patch+json"}
        async with self._http.patch(self._path(kind, name), data=json.dumps(body), headers=headers) as answer:
            # The operator may have deleted it meanwhile: then there is nothing left to play.
            assert answer.status in (200, 404), await answer.text()
            changed: Object = await answer.json()
            return changed

    def _path(self, kind: str, name: str = "") -> str:
        return "/" + "/".join([PATHS[kind].format(self._namespace), *([name] if name else [])])


def _text(seconds: float) -> str:
    """The time in so many seconds, as the API server writes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
