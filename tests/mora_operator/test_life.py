"""The life of a job over several attempts: a world in which plan() is carried out, looked at by table and by chance."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from builders import NOW, SETTINGS, UID, rayjob, rollout_job
from hypothesis import given, settings
from hypothesis import strategies as st

from mora_jobs.api import CommonStatus, Job
from mora_operator.plan.plan import Plan, plan
from mora_operator.plan.rayjobs import RayJob
from mora_operator.plan.status import changes
from mora_operator.plan.view import Observed
from mora_operator.times import text_of

PROVISIONING = {"jobDeploymentStatus": "Initializing"}
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "c"}
SUCCEEDED = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
FAILED = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}
LOST = {"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING", "reason": "JobStatusCheckTimeoutExceeded"}


@dataclass
class World:
    """A job, its status, and the RayJobs of its attempts (by index), which end and go when told to."""

    job: Job = field(default_factory=rollout_job)
    now: datetime = NOW
    status: dict[str, Any] = field(default_factory=dict)
    rayjobs: dict[int, dict[str, Any]] = field(default_factory=dict)
    born: dict[int, datetime] = field(default_factory=dict)
    expired: bool = False

    def look(self, *, crash: str | None = None) -> Plan:
        """Decide and carry it out. `crash` ends the operator "before" the deletions or "after" them, before the status."""
        decided = plan(self.job, self.observed(), SETTINGS, self.now)
        if decided.start is not None and decided.start not in self.rayjobs:
            self.rayjobs[decided.start], self.born[decided.start] = dict(PROVISIONING), self.now
        if crash == "before":
            return decided
        for each in decided.stop:
            del self.rayjobs[each.attempt]
        self.expired |= decided.expire
        if decided.status is not None and crash is None:
            self.status = merge_patch(self.status, changes(self.status, decided.status))
            CommonStatus.model_validate(self.status)
        return decided

    def observed(self) -> Observed:
        return Observed(status=self.status, generation=1, rayjobs=tuple(self._rayjob(index) for index in self.rayjobs))

    def settle(self) -> Plan:
        """Look until nothing changes any more at this time."""
        while True:
            before = (dict(self.status), dict(self.rayjobs))
            decided = self.look()
            if (self.status, self.rayjobs) == before:
                return decided

    def becomes(self, index: int, kuberay: dict[str, Any], after: float = 0.0) -> "World":
        """KubeRay says something about an attempt, `after` some seconds."""
        self.now += timedelta(seconds=after)
        self.rayjobs[index] = dict(kuberay)
        if kuberay["jobDeploymentStatus"] in ("Complete", "Failed"):
            self.rayjobs[index]["endTime"] = text_of(self.now)
        return self

    def later(self, seconds: float) -> "World":
        self.now += timedelta(seconds=seconds)
        return self

    @property
    def phase(self) -> str:
        return str(self.status["phase"])

    @property
    def attempts(self) -> tuple[int, int, int]:
        found = self.status["attempts"]
        return found["current"], found["failed"], found["infraRestarts"]

    @property
    def reason(self) -> str:
        return next(str(each["reason"]) for each in self.status["conditions"] if each["type"] == "Ready")

    def _rayjob(self, index: int) -> RayJob:
        made = rayjob(index, uid=f"ray-{index}", owner=UID, **self.rayjobs[index])
        return replace(made, created=text_of(self.born[index]))


def merge_patch(value: Any, patch: Any) -> Any:
    """RFC 7386, as the API server does it."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for name, item in patch.items():
        if item is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), item)
    return merged


def started(**spec: Any) -> World:
    world = World(rollout_job(**spec))
    world.settle()
    world.becomes(1, RUNNING, after=30).settle()
    return world


def test_a_failed_attempt_is_recorded_then_deleted_then_followed_by_another() -> None:
    world = started().becomes(1, FAILED, after=5)
    decided = world.look()
    assert (world.phase, world.attempts) == ("Retrying", (1, 1, 0))
    assert decided.stop == (), "nothing is deleted before it is recorded"
    assert world.look().stop, "now it is"
    assert not world.rayjobs
    assert world.settle().again == 10.0
    assert "the next one begins at" in world.status["conditions"][1]["message"]
    world.later(9.0).settle()
    assert world.attempts[0] == 1
    world.later(1.0).settle()
    assert (world.phase, world.attempts, set(world.rayjobs)) == ("Provisioning", (2, 1, 0), {2})
    world.becomes(2, RUNNING).settle()
    world.becomes(2, SUCCEEDED, after=60).settle()
    assert (world.phase, world.attempts) == ("Complete", (2, 1, 0))


@pytest.mark.parametrize(
    ("spec", "kuberay", "exit", "phase", "attempts"),
    [
        ({}, FAILED, None, "Retrying", (1, 1, 0)),
        ({}, LOST, None, "Retrying", (1, 0, 1)),
        ({"backoffLimit": 0}, FAILED, None, "Failed", (1, 1, 0)),
        ({"backoffLimit": 0}, LOST, None, "Retrying", (1, 0, 1)),
        ({"failurePolicy": {"maxInfraRestarts": 0}}, LOST, None, "Failed", (1, 0, 1)),
        ({}, FAILED, {"class": "UserError", "reason": "CallableNotFound"}, "Failed", (1, 0, 0)),
        ({}, FAILED, {"class": "Infra", "reason": "NodeLost"}, "Retrying", (1, 0, 1)),
        ({}, FAILED | {"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed"}, None, "Failed", (1, 1, 0)),
        (
            {"failurePolicy": {"rules": [{"name": "oom", "action": "FailJob", "onReasons": ["OutOfMemory"]}]}},
            FAILED, {"class": "App", "reason": "OutOfMemory"}, "Failed", (1, 1, 0),
        ),
        (
            {"failurePolicy": {"rules": [{"name": "flaky", "action": "RetryIgnoreLimit", "onReasons": ["Flaky"]}]}},
            FAILED, {"class": "App", "reason": "Flaky"}, "Retrying", (1, 0, 0),
        ),
        (
            {"failurePolicy": {"rules": [{"name": "again", "action": "Retry", "onReasons": ["CallableNotFound"]}]}},
            FAILED, {"class": "UserError", "reason": "CallableNotFound"}, "Retrying", (1, 1, 0),
        ),
    ],
)  # fmt: skip
def test_whose_fault_it_was_decides(
    spec: dict[str, Any],
    kuberay: dict[str, Any],
    exit: dict[str, Any] | None,
    phase: str,
    attempts: tuple[int, int, int],
) -> None:
    world = started(**spec)
    if exit is not None:
        world.status["exit"] = {"attempt": 1, "message": ""} | exit
    world.becomes(1, kuberay, after=5).look()
    assert (world.phase, world.attempts) == (phase, attempts)


def test_the_wait_doubles_with_short_attempts_and_begins_anew_after_a_long_one() -> None:
    world, waits = started(backoffLimit=9), []
    for index, seconds in enumerate((5, 5, 5, 5, 3600, 5), 1):
        world.becomes(index, RUNNING).settle()
        world.becomes(index, FAILED, after=seconds)
        waits.append(world.settle().again)
        world.later(waits[-1] or 0.0).settle()
    assert waits == [10, 20, 40, 80, 10, 10]


def test_what_is_left_of_the_budget_is_told() -> None:
    world = started(backoffLimit=1).becomes(1, FAILED, after=5)
    world.settle()
    world.later(10).settle()
    world.becomes(2, FAILED, after=5).settle()
    failed = next(each for each in world.status["conditions"] if each["type"] == "Failed")
    assert (world.phase, world.attempts) == ("Failed", (2, 2, 0))
    assert failed["message"].endswith("(spec.backoffLimit is used up)")


def test_a_rule_that_ends_the_job_does_not_speak_of_budgets() -> None:
    rule = {"name": "oom", "action": "FailJob", "onReasons": ["OutOfMemory"]}
    world = started(failurePolicy={"rules": [rule]}).becomes(1, FAILED, after=5)
    world.settle()
    world.later(10).settle()
    world.status["exit"] = {"class": "App", "reason": "OutOfMemory", "message": "no memory is left", "attempt": 2}
    world.becomes(2, FAILED, after=5).settle()
    failed = next(each for each in world.status["conditions"] if each["type"] == "Failed")
    assert (world.phase, failed["message"]) == ("Failed", "no memory is left")


def test_a_rayjob_that_was_taken_away_is_made_again_and_counted() -> None:
    world = started()
    del world.rayjobs[1]
    world.look()
    assert (world.phase, world.attempts) == ("Retrying", (1, 0, 1))
    assert world.status["attemptHistory"][0]["class"] == "ExternalDeletion"
    world.later(10).settle()
    assert set(world.rayjobs) == {2}


def test_suspending_lets_the_driver_save_and_resuming_goes_on() -> None:
    world = started()
    world.job = rollout_job(suspend=True)
    assert world.settle().again == SETTINGS.suspend_grace_seconds
    assert (world.phase, set(world.rayjobs)) == ("Suspending", {1}), "it is asked first, by the reply to its report"
    world.status["exit"] = {"class": "Infra", "reason": "Stopped", "message": "", "attempt": 1}
    world.later(4).settle()
    assert (world.phase, world.rayjobs, world.attempts) == ("Suspended", {}, (1, 0, 0))
    past = world.status["attemptHistory"][0]
    assert (past["reason"], past["lostSeconds"]) == ("Suspended", 0)
    world.job = rollout_job()
    world.later(3600).settle()
    assert (world.phase, world.attempts) == ("Provisioning", (2, 0, 0)), "resuming costs no restart"


def test_a_driver_that_does_not_save_loses_what_it_did_since_its_last_report() -> None:
    world = started()
    world.status["progress"] = {"unit": "Prompts", "lastUpdatedTime": text_of(world.now)}
    world.job = rollout_job(suspend=True)
    world.settle()
    world.later(SETTINGS.suspend_grace_seconds).settle()
    assert (world.phase, world.rayjobs) == ("Suspended", {})
    assert world.status["attemptHistory"][0]["lostSeconds"] == SETTINGS.suspend_grace_seconds


def test_a_cluster_that_does_not_run_yet_is_given_back_at_once() -> None:
    world = World()
    world.settle()
    world.job = rollout_job(suspend=True)
    world.settle()
    assert (world.phase, world.rayjobs) == ("Suspended", {})


def test_a_failure_while_it_is_to_be_suspended_is_told_first() -> None:
    world = started()
    world.job = rollout_job(suspend=True)
    world.settle()
    world.becomes(1, FAILED, after=2).settle()
    assert (world.phase, world.attempts) == ("Suspended", (1, 1, 0))
    assert world.status["attemptHistory"][0]["reason"] == "AppFailed"


def test_the_deadline_of_the_job_counts_attempts_and_not_what_lies_between() -> None:
    world = started(activeDeadlineSeconds=100).becomes(1, FAILED, after=60)
    world.settle()
    world.later(10).settle()
    world.becomes(2, RUNNING).settle()
    assert world.settle().again == 10.0  # 30 + 60 of 100 are spent
    world.later(9).settle()
    assert world.phase == "Running"
    world.later(1).settle()
    assert (world.phase, world.reason, world.rayjobs) == ("Failed", "DeadlineExceeded", {})
    assert world.status["attemptHistory"][0]["class"] == "Deadline"


def test_the_deadline_counts_attempts_that_the_history_has_forgotten() -> None:
    world = started(activeDeadlineSeconds=1000, backoffLimit=50)
    for index in range(1, 21):
        world.becomes(index, RUNNING).settle()
        world.becomes(index, FAILED, after=40).settle()
        world.later(400).settle()
    world.becomes(21, RUNNING).settle()
    assert len(world.status["attemptHistory"]) == 10
    assert world.settle().again == 1000 - 30 - 20 * 40


def test_a_deadline_that_was_raised_in_time_holds() -> None:
    world = started(activeDeadlineSeconds=100).later(60)
    world.job = rollout_job(activeDeadlineSeconds=1000)
    world.later(100).settle()
    assert world.phase == "Running"


def test_a_cluster_that_does_not_come_up_in_time_is_tried_again() -> None:
    world = World(rollout_job(preRunningDeadlineSeconds=60))
    assert world.settle().again == 90.0
    world.later(90).settle()
    assert (world.phase, world.attempts) == ("Retrying", (1, 0, 1))
    assert world.status["attemptHistory"][0]["reason"] == "PreRunningDeadlineExceeded"


def test_a_finished_job_goes_after_its_time() -> None:
    world = started(ttlSecondsAfterFinished=60).becomes(1, SUCCEEDED, after=5)
    world.settle()
    assert world.settle().again == 60.0
    world.later(60).look()
    assert world.expired


def test_accelerator_time_is_added_up() -> None:
    limits = {"workers": {"resources": {"limits": {"nvidia.com/gpu": "2"}}}}
    world = started(cluster=limits).becomes(1, FAILED, after=70)
    world.settle()
    assert world.status["usage"] == {"activeSeconds": 100, "gpuSeconds": 200, "wastedGpuSeconds": 200}
    world.later(10).settle()
    world.becomes(2, RUNNING).settle()
    world.becomes(2, SUCCEEDED, after=50).settle()
    assert world.status["usage"] == {"activeSeconds": 150, "gpuSeconds": 300, "wastedGpuSeconds": 200}


def test_an_attempt_that_is_suspended_is_recorded_before_it_is_deleted() -> None:
    """An operator that dies between the two must find the attempt, or its record."""
    world = started()
    world.job = rollout_job(suspend=True)
    world.settle()
    world.later(1000)
    decided = world.look(crash="after")
    assert set(world.rayjobs) == {1}
    assert decided.stop == ()
    world.settle()
    assert (world.phase, world.rayjobs) == ("Suspended", {})
    assert [past["index"] for past in world.status["attemptHistory"]] == [1]
    world.job = rollout_job()
    world.settle()
    assert set(world.rayjobs) == {2}


def test_an_attempt_over_the_deadline_is_recorded_before_it_is_deleted() -> None:
    world = started(activeDeadlineSeconds=100).later(100)
    assert world.look().stop == ()
    assert world.phase == "Failed"
    world.settle()
    assert not world.rayjobs


def test_a_new_attempt_is_not_said_to_run_on_the_old_ones_cluster() -> None:
    """The operator died after it had made the second RayJob, before it wrote so."""
    world = started().becomes(1, FAILED, after=5)
    world.settle()
    world.later(10)
    world.look()
    world.look(crash="before")
    assert set(world.rayjobs) == {2}
    world.settle()
    assert world.status["currentAttempt"]["index"] == 2
    assert "rayClusterName" not in world.status["currentAttempt"]


steps = st.lists(
    st.tuples(
        st.sampled_from(["look", "crash before", "crash after", "run", "fail", "lose", "succeed", "take", "suspend", "resume"]),
        st.integers(0, 30),
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(steps, st.integers(0, 3), st.integers(0, 3))
def test_whatever_happens_there_is_one_attempt_at_a_time_and_an_end(
    history: list[tuple[str, int]], backoff: int, restarts: int
) -> None:
    """Failures, deletions from outside, suspensions and crashes of the operator between any two of its writes."""
    spec = {"backoffLimit": backoff, "failurePolicy": {"maxInfraRestarts": restarts}}
    world = World(rollout_job(**spec))
    for step, seconds in history:
        world.later(seconds)
        newest = max(world.rayjobs, default=None)
        live = newest is not None and world.rayjobs[newest]["jobDeploymentStatus"] in ("Initializing", "Running")
        match step:
            case "look":
                world.look()
            case "crash before" | "crash after":
                world.look(crash=step.split()[1])
            case "run" | "fail" | "lose" | "succeed" if live and newest is not None:
                world.becomes(newest, {"run": RUNNING, "fail": FAILED, "lose": LOST, "succeed": SUCCEEDED}[step])
            case "take" if newest is not None:
                del world.rayjobs[newest]
            case "suspend" | "resume":
                world.job = rollout_job(**spec, suspend=step == "suspend")
        assert len(world.rayjobs) <= 1, "never two attempts at a time"
    world.job = rollout_job(**spec)
    for _ in range(200):
        if world.settle() and world.phase in ("Complete", "Failed"):
            break
        world.later(400)
        for index in world.rayjobs:
            world.becomes(index, SUCCEEDED)
    assert world.phase in ("Complete", "Failed")
    _, failed, lost = world.attempts
    assert failed <= backoff + 1
    assert lost <= restarts + 1
