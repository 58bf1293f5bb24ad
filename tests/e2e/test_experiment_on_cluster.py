"""A whole experiment on real pods; `mora run` of the same manifests has the same results; nothing remains of it."""

from pathlib import Path

import pytest
from chains import MADE, OURS, await_only, complete, names
from experiments import SECONDS, code, manifests, prepare, run_here, table
from kubectl import Namespace
from statuses import results

pytestmark = pytest.mark.e2e


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
    (shown,) = namespace.job_metric("mora_job_hypervolume", jobs[-1]["metadata"]["name"])
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
    await_only(namespace, before, 120)
