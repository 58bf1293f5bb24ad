"""Whatever a pod patch that is let through says, nothing stands twice in a pod, and ours is where it belongs."""

from typing import Any

from attempts import templates
from builders import SETTINGS, rollout_job
from hypothesis import given, settings
from hypothesis import strategies as st
from rendered import mounts, objects

from mora_operator.plan.blockers import blockers
from mora_operator.render.names import CLOSED_FOLDERS, CONFIG, OPEN_FOLDERS, SCRATCH, SHARED_MEMORY, TOKEN, VARIABLES

VOLUMES = st.sampled_from(["a", "b", "dshm", "scratch", "mora-job", "mora-progress", "mora-claim-0"])
STEPS = st.lists(
    st.sampled_from(["", ".", "..", "etc", "mora", "tmp", "dev", "shm", "run", "var", "secrets"]), max_size=5
)
PATHS = st.one_of(
    STEPS.map(lambda steps: "/" + "/".join(steps)),
    st.tuples(st.sampled_from([*CLOSED_FOLDERS, *OPEN_FOLDERS, "/x"]), STEPS).map(lambda parts: "/".join([parts[0], *parts[1]])),
)  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(sorted(VARIABLES)), st.sampled_from(["A", "PYTHONUNBUFFERED", "API_KEY", "HF_TOKEN_PATH"])
)
CREDENTIALS = [
    {"name": name, "secretRef": {"name": "s", "key": "k"}} | more
    for name, more in [("hf", {}), ("api-key", {"as": "Env"}), ("file", {"mountPath": "/x/file"})]
]


@st.composite
def patches(draw: st.DrawFn) -> dict[str, Any]:
    volumes = draw(st.lists(VOLUMES, unique=True, max_size=2))
    mounted = draw(st.lists(st.tuples(VOLUMES, PATHS), max_size=3))
    names = draw(st.lists(NAMES, unique=True, max_size=2))
    labels = draw(st.lists(st.sampled_from(["a", "mora.dev/name", "mora.dev/kind", "ray.io/cluster"]), unique=True))
    return {
        "volumes": [{"name": name, "emptyDir": {}} for name in volumes],
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounted],
        "env": [{"name": name, "value": "theirs"} for name in names],
        "labels": dict.fromkeys(labels, "theirs"),
    }


@given(patches())
@settings(deadline=None)
def test_nothing_stands_twice_and_ours_is_ours(patch: dict[str, Any]) -> None:
    job = rollout_job(credentials=CREDENTIALS, cluster={"head": {"pod": patch}, "workers": {"pod": patch}})
    if list(blockers(job, SETTINGS)):
        return
    pods = templates(objects(job)["RayJob"])
    for role in ("head", "worker"):
        spec = pods[role]["spec"]
        (container,) = spec["containers"]
        volumes = [each["name"] for each in spec["volumes"]]
        env = [each["name"] for each in container["env"]]
        found = mounts(pods[role])
        assert len(set(volumes)) == len(volumes)
        assert len(set(env)) == len(env)
        assert len(found) == len(container["volumeMounts"])
        assert {each["name"] for each in found.values()} <= set(volumes)
        ours = {CONFIG: "mora-job", SCRATCH: "scratch", SHARED_MEMORY: "dshm"}
        ours |= {TOKEN: "mora-progress"} if role == "head" else {}
        assert ours.items() <= {path: each["name"] for path, each in found.items()}.items()
        assert not VARIABLES & {each["name"] for each in container["env"] if each.get("value") == "theirs"}
        assert pods[role]["metadata"]["labels"]["mora.dev/name"] == "tiny"


def test_not_all_of_what_is_tried_is_refused() -> None:
    """The test above would say nothing if all of it were refused."""
    fine = {"volumes": [{"name": "a", "emptyDir": {}}], "volumeMounts": [{"name": "a", "mountPath": "/tmp/x"}]}
    assert list(blockers(rollout_job(credentials=CREDENTIALS, cluster={"head": {"pod": fine}}), SETTINGS)) == []
