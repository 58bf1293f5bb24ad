"""A whole experiment on real pods; `mora run` of the same manifests has the same results; nothing remains of it."""

import json
from pathlib import Path

import pytest
from experiments import code, manifests, prepare, run_here, table
from kubectl import Namespace, Object
from tiny_jobs import SECONDS

pytestmark = pytest.mark.e2e

OURS = "rolloutjobs,rewritejobs,alignmentjobs"
MADE = "rayjobs,rayclusters,pods,services,configmaps,serviceaccounts,networkpolicies,jobs,secrets,roles,rolebindings,leases"


@pytest.mark.timeout(5 * SECONDS)
def test_the_cluster_and_mora_run_agree_and_nothing_remains(
    namespace: Namespace, runtime_image: str, tmp_path: Path
) -> None:
    prepare(namespace.volume)
    code(namespace)
    before = names(namespace, MADE)
    jobs = manifests(runtime_image)
    namespace.apply(*jobs)
    statuses = complete(namespace, jobs)
    print(namespace.kubectl("get", OURS, "-o", "wide"), namespace.kubectl("get", "events", "--sort-by=.lastTimestamp"))

    for job in jobs:
        found = namespace.get(job["kind"], job["metadata"]["name"])
        assert found["metadata"]["generation"] == 1, "nothing is written into spec"
        said = namespace.events(job["kind"], job["metadata"]["name"])
        assert {"ProvisioningCluster", "Running", "Complete"} <= {each["reason"] for each in said}
        assert not [each for each in said if each["type"] == "Warning"]
    (shown,) = namespace.operator_metric("mora_job_hypervolume", jobs[-1]["metadata"]["name"])
    assert shown == pytest.approx(float(statuses[2]["pareto"]["hypervolume"])), (
        "the leader shows the front's hypervolume"
    )

    there, (here, locally) = namespace.volume / "runs", run_here(jobs, namespace.volume, tmp_path)
    tables = sorted({str(path.parent.parent.relative_to(there)) for path in there.rglob("*.parquet")})
    assert len(tables) > 20
    for name in tables:
        assert table(there, name) == table(here, name), f"{name}: every row, every digit"
    for remote, local in zip(statuses, locally, strict=True):
        assert results(remote) == results(local)  # with the digests of all tables and of pareto.json
    assert statuses[2]["pareto"]["hypervolume"]

    namespace.kubectl("delete", OURS, "--all")
    namespace.await_that(lambda: names(namespace, MADE) == before, 120, lambda: names(namespace, MADE) - before)


def complete(namespace: Namespace, jobs: list[Object]) -> list[Object]:
    """Follow the chain to its end; every job's status."""
    last = jobs[-1]
    namespace.await_job(
        last["kind"],
        last["metadata"]["name"],
        4 * SECONDS,
        until=lambda status: "completionTime" in status or failed(namespace),
    )
    statuses = [namespace.get(job["kind"], job["metadata"]["name"])["status"] for job in jobs]
    assert [status["phase"] for status in statuses] == ["Complete"] * 3, json.dumps(statuses, indent=1)
    return statuses


def failed(namespace: Namespace) -> bool:
    found = json.loads(namespace.kubectl("get", OURS, "-o", "json"))["items"]
    return any(job.get("status", {}).get("phase") == "Failed" for job in found)


def names(namespace: Namespace, kinds: str) -> set[str]:
    return set(namespace.kubectl("get", kinds, "-o", "name").split())


def results(status: Object) -> Object:
    """What a status says about the job's results, without places and times."""
    members = ("rollouts", "rewards", "isolation", "rewriting", "objectives", "pairs", "pareto")
    digests = {each["name"]: each["digest"] for each in status["outputs"]}
    found = json.loads(json.dumps({name: status[name] for name in members if name in status}))
    for point in found.get("pareto", {}).get("front", []):
        point.pop("checkpointURI", None)
    found.get("pareto", {}).get("artifact", {}).pop("uri", None)
    return found | {"digests": digests}
