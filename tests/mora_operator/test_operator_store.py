"""The store keeps the newest of what it is shown, and knows who waits for whom."""

from typing import Any

from builders import KEY, UID, raw_rayjob

from mora_operator.plan.references import direct, follow
from mora_operator.resources import JobKey
from mora_operator.store import Store


def raw(name: str = "tiny", uid: str = UID, version: int = 1, kind: str = "RolloutJob", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team-a", "uid": uid, "resourceVersion": str(version), "managedFields": [1]}
    return {"metadata": metadata, "kind": kind, "spec": spec}


def key(name: str, kind: str = "RolloutJob") -> JobKey:
    return JobKey(kind, "team-a", name)


def test_an_older_version_does_not_replace_a_newer_one() -> None:
    store = Store()
    assert store.put_job(raw(version=10, a=1), "RolloutJob") == {KEY}
    assert store.put_job(raw(version=9, a=0), "RolloutJob") == set()
    job = store.job(KEY)
    assert job is not None
    assert job["spec"] == {"a": 1}
    assert "managedFields" not in job["metadata"]


def test_an_object_of_the_same_name_made_anew_replaces_the_old_one() -> None:
    store = Store()
    store.put_job(raw(version=10), "RolloutJob")
    store.put_job(raw(uid="new", version=13), "RolloutJob")
    assert store.put_job(raw(version=12), "RolloutJob") == set(), "what comes late about the old one is no news"
    job = store.job(KEY)
    assert job is not None
    assert job["metadata"]["uid"] == "new"
    assert store.drop_job(KEY, UID) == set(), "the deletion of the old one comes late"
    assert store.job(KEY) is not None


def test_who_refers_to_a_job_is_looked_at_again_when_it_changes() -> None:
    store = Store()
    store.put_job(raw("second", uid="2", prompts={"rolloutJobRef": {"name": "tiny"}}), "RolloutJob")
    assert store.put_job(raw("tiny"), "RolloutJob") == {KEY, key("second")}
    assert store.drop_job(KEY, UID) == {KEY, key("second")}


def test_references_are_followed_through_others() -> None:
    jobs = {
        key("c", "AlignmentJob"): raw("c", data={"rewriteJobRef": {"name": "b"}}),
        key("b", "RewriteJob"): raw("b", source={"rolloutJobRef": {"name": "a"}}),
        key("a"): raw("a"),
    }
    last = key("c", "AlignmentJob")
    found = follow(last, direct(last, jobs[last]), jobs.get)
    assert found.direct == (key("b", "RewriteJob"),)
    assert {other for other, _ in found.jobs} == {key("b", "RewriteJob"), key("a")}
    assert not found.cycle


def test_a_cycle_is_seen() -> None:
    jobs = {
        key("a"): raw("a", prompts={"rewriteJobRef": {"name": "b"}}),
        key("b", "RewriteJob"): raw("b", source={"rolloutJobRef": {"name": "a"}}),
    }
    assert follow(key("a"), direct(key("a"), jobs[key("a")]), jobs.get).cycle


def test_rayjobs_of_a_deleted_job_of_the_same_name_do_not_count() -> None:
    store = Store()
    assert store.put_rayjob(raw_rayjob(owner="somebody-before")) == KEY
    assert store.rayjobs(KEY, UID) == ()
    store.put_rayjob(raw_rayjob(uid="ray-2"))
    assert [rayjob.uid for rayjob in store.rayjobs(KEY, UID)] == ["ray-2"]
    store.drop_rayjob(raw_rayjob(uid="ray-1"))
    assert len(store.rayjobs(KEY, UID)) == 1, "the deletion of the first one comes late"
    store.drop_rayjob(raw_rayjob(uid="ray-2"))
    assert store.rayjobs(KEY, UID) == ()


def test_rayjobs_of_others_are_not_kept() -> None:
    stranger = raw_rayjob()
    stranger["metadata"]["ownerReferences"] = []
    assert Store().put_rayjob(stranger) is None
