"""Events in any order, twice or not at all, and then a list: the store and the plan are the same as if all had come."""

from typing import Any

from builders import NOW, SETTINGS, UID, raw_rayjob, rollout_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from mora_operator.plan.plan import Plan, plan
from mora_operator.plan.view import Observed
from mora_operator.reconciler import read_job
from mora_operator.resources import JobKey
from mora_operator.store import Store

KEY = JobKey("RolloutJob", "team-a", "tiny")
OTHER = JobKey("RolloutJob", "team-a", "other")
STATES = ("", "Initializing", "Running", "Complete", "Failed")
History = list[tuple[str, int, dict[str, Any]]]  # event type, version, object; the version is the server's clock


def job(name: str, uid: str, version: int, suspend: bool) -> dict[str, Any]:
    spec = rollout_spec(suspend=suspend)
    if name == "tiny":
        spec["prompts"] = {"rolloutJobRef": {"name": "other"}}
    done = [{"type": "Complete", "status": "True", "reason": "x", "lastTransitionTime": "2026-11-22T11:00:00Z"}]
    metadata = {"name": name, "namespace": "team-a", "uid": uid, "resourceVersion": str(version), "generation": 1}
    status = {"conditions": done} if name == "other" else {"attempts": {"current": 1}, "phase": "Running"}
    return {"kind": "RolloutJob", "metadata": metadata, "spec": spec, "status": status}


def attempt(uid: str, owner: str, version: int, state: str) -> dict[str, Any]:
    raw = raw_rayjob(1, uid=uid, owner=owner, jobDeploymentStatus=state, jobStatus="SUCCEEDED")
    raw["metadata"]["resourceVersion"] = str(version)
    return raw


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Two jobs and a RayJob that are made, changed, deleted and made anew, as the API server would tell it."""
    told: History = []
    present: dict[str, dict[str, Any]] = {}
    for version in range(1, draw(st.integers(1, 14))):
        what = draw(st.sampled_from(["tiny", "other", "rayjob"]))
        if what in present and draw(st.booleans()) and draw(st.booleans()):
            gone = present.pop(what)
            last = gone | {"metadata": gone["metadata"] | {"resourceVersion": str(version)}}
            told.append((f"DELETED {what}", version, last))
            continue
        uid = present[what]["metadata"]["uid"] if what in present else f"{what}-{version}"
        if what == "rayjob":
            owner = present.get("tiny", {"metadata": {"uid": UID}})["metadata"]["uid"]
            made = attempt(uid, owner, version, draw(st.sampled_from(STATES)))
        else:
            made = job(what, uid, version, draw(st.booleans()))
        present[what] = made
        told.append((f"SEEN {what}", version, made))
    return told


def tell(store: Store, event: str, raw: dict[str, Any]) -> None:
    match event.split():
        case ["SEEN", "rayjob"]:
            store.put_rayjob(raw)
        case ["DELETED", "rayjob"]:
            store.drop_rayjob(raw)
        case ["SEEN", _]:
            store.put_job(raw, "RolloutJob")
        case ["DELETED", _]:
            metadata = raw["metadata"]
            store.drop_job(JobKey("RolloutJob", metadata["namespace"], metadata["name"]), metadata["uid"])


def list_all(store: Store, history: History) -> None:
    """As the controller's list does: what is there is put in, what is not is forgotten."""
    present: dict[str, dict[str, Any]] = {}
    for event, _, raw in history:
        verb, what = event.split()
        present.pop(what, None)
        if verb == "SEEN":
            present[what] = raw
    before = store.known()
    for what, raw in present.items():
        tell(store, f"SEEN {what}", raw)
    for uid in before.keys() - {raw["metadata"]["uid"] for raw in present.values()}:
        store.forget(before[uid], uid)


def decisions(store: Store) -> list[Plan]:
    made = []
    for key in (KEY, OTHER):
        raw = store.job(key)
        if raw is None:
            continue
        observed = Observed(
            status=raw["status"],
            generation=1,
            rayjobs=store.rayjobs(key, raw["metadata"]["uid"]),
            references=store.references(key),
        )
        made.append(plan(read_job(raw, key.kind), observed, SETTINGS, NOW))
    return made


@settings(deadline=None)
@given(histories(), st.data())
def test_the_end_is_the_same(history: History, data: st.DataObject) -> None:
    straight, disturbed = Store(), Store()
    for event, _, raw in history:
        tell(straight, event, raw)
    for index in data.draw(st.lists(st.integers(0, max(0, len(history) - 1)), max_size=30)) if history else ():
        event, _, raw = history[index]
        tell(disturbed, event, raw)
    list_all(disturbed, history)
    list_all(straight, history)
    assert disturbed.known() == straight.known()
    for key in (KEY, OTHER):
        assert disturbed.job(key) == straight.job(key)
    assert decisions(disturbed) == decisions(straight)
