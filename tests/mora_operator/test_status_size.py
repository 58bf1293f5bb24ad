"""A status is never over 64 KiB, whatever drivers report and however many attempts there were."""

from typing import Any

from builders import NOW, SETTINGS, condition, rayjob, rollout_job
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mora_jobs.api import AlignmentStatus, ConditionType, ProgressReport, RolloutStatus
from mora_jobs.api.budget import REPORTED_BYTES, STATUS_BYTES, size
from mora_operator.plan.conditions import is_true
from mora_operator.plan.plan import plan
from mora_operator.plan.status import changes
from mora_operator.plan.view import Observed
from mora_operator.progress.endpoint import reported
from mora_operator.progress.writer import fitted, standing

# Short and very long texts, of one to four bytes a character.
texts = st.builds(
    lambda symbol, count, limit: symbol * min(count, limit),
    st.sampled_from(["x", "é", "漢", "🙂"]), st.sampled_from([1, 40, 1024]), st.just(1024),
)  # fmt: skip


def text(limit: int) -> st.SearchStrategy[str]:
    return texts.map(lambda value: value[:limit])


def named(count: int, limit: int, **members: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Up to `count` items, each with a name of its own of up to `limit` characters."""
    item = st.fixed_dictionaries(members)
    return st.builds(
        lambda size, one, symbol: [{"name": f"{symbol * (limit - 3)}{i:03}"} | one for i in range(size)],
        st.sampled_from([0, 1, count]), item, st.sampled_from(["x", "漢"]),
    )  # fmt: skip


weights = st.builds(lambda size, value: {f"{i:063}": value for i in range(size)}, st.integers(1, 8), text(64))
fronts = st.fixed_dictionaries(
    {
        "objectives": st.just(["a"]),
        "referencePoint": st.just(["0"]),
        "hypervolume": text(64),
        "front": named(
            64, 63, weights=weights, values=weights, checkpointURI=text(500).map(lambda tail: f"s3://{tail}")
        ),
    }
)
reports = st.fixed_dictionaries(
    {"progress": st.just({"progressPercentage": 5})},
    optional={
        "metrics": named(64, 64, value=text(64)),
        "outputs": named(8, 63, uri=text(1024), digest=text(1024)),
        "links": st.fixed_dictionaries({"logs": text(1024), "report": text(1024)}),
        "checkpoint": st.fixed_dictionaries({"uri": text(1024), "digest": text(1024)}),
        "exit": st.fixed_dictionaries({"class": st.just("App"), "reason": st.just("R" * 128), "message": text(1024)}),
        "result": st.fixed_dictionaries({}, optional={"pareto": fronts}),
    },
)
LOST = {"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING", "reason": "JobStatusCheckTimeoutExceeded"}


# Shrinking examples of this size takes minutes; the seed that a failure prints is what helps.
@settings(
    max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(st.lists(reports, min_size=1, max_size=3), st.integers(0, 12), texts)
def test_a_status_keeps_within_its_size(given: list[dict[str, Any]], attempts: int, message: str) -> None:
    job = rollout_job(failurePolicy={"maxInfraRestarts": 50})
    status: dict[str, Any] = {}
    for index in range(1, attempts + 1):
        lost = rayjob(index, uid=f"ray-{index}", **LOST, message=message * 20)
        for _ in range(2):
            decided = plan(job, Observed(status=status, generation=1, rayjobs=(lost,)), SETTINGS, NOW)
            status |= changes(status, decided.status or {})
            assert size(status) <= STATUS_BYTES
    for report in given:
        members = reported(ProgressReport.model_validate(report), "AlignmentJob", attempts, NOW)
        raw = {"metadata": {"generation": 1}, "status": status}
        written = fitted(standing(status, "AlignmentJob", attempts) | members, raw, NOW)
        mine = written.pop("conditions", [])
        assert size(written) <= REPORTED_BYTES
        for name in standing(status, "AlignmentJob", attempts):
            status.pop(name)  # server-side apply takes back what is left out
        others = [each for each in status.get("conditions", []) if each["type"] not in {each["type"] for each in mine}]
        status |= written | {"conditions": others + mine}
        decided = plan(job, Observed(status=status, generation=1), SETTINGS, NOW)
        status |= changes(status, decided.status or {})
        assert size(status) <= STATUS_BYTES
        AlignmentStatus.model_validate(status)
        assert written["progress"]["progressPercentage"] == 5
        assert ("exit" in report) <= ("exit" in written)


def test_old_attempts_go_first_and_the_newest_stays() -> None:
    history = [
        {
            "index": index,
            "reason": "AppFailed",
            "class": "App",
            "message": "x" * 1024,
            "endTime": "2026-11-22T11:00:00Z",
        }
        for index in range(10, 0, -1)
    ]
    status = {"attempts": {"current": 10}, "attemptHistory": history, "pad": "x" * 56_000, "conditions": []}
    decided = plan(rollout_job(suspend=True), Observed(status=status, generation=1), SETTINGS, NOW).status
    assert decided is not None
    assert decided["attemptHistory"][0]["index"] == 10
    assert 1 <= len(decided["attemptHistory"]) < 10
    assert is_true(decided, ConditionType.TRUNCATED)


def test_what_is_cut_is_said_and_taken_back_when_it_fits_again() -> None:
    front = [
        {"name": f"p{i}", "weights": {}, "values": {"a": "1"}, "checkpointURI": "s3://" + "x" * 1000}
        for i in range(64)
    ]
    result = {"objectives": ["a"], "referencePoint": ["0"], "hypervolume": "1", "front": front, "knee": "p3"}
    raw: dict[str, Any] = {"metadata": {"generation": 1}, "status": {"conditions": [condition("Truncated", "False")]}}
    cut = fitted({"pareto": result}, raw, NOW)
    assert len(front) == 64, "what was given is not changed"
    assert (cut["conditions"][0]["status"], cut["conditions"][0]["reason"]) == ("True", "FrontTruncated")
    assert "p3" in {point["name"] for point in cut["pareto"]["front"]}
    raw["status"] = {"conditions": cut["conditions"]}
    whole = fitted({"pareto": result | {"front": front[:5]}}, raw, NOW)
    assert whole["conditions"][0]["status"] == "False"
    RolloutStatus.model_validate({"conditions": whole["conditions"]})
