"""Server-side apply by two field managers, again and again, while the operator works on the job."""

import yaml
from checkout import Checkout
from control_plane import Cluster
from experiment import Experiment
from team import RUNNING

MANAGERS = ("kustomize-controller", "argocd-controller")
TIMES = 20


def test_applied_20_times_by_two_managers_nothing_changes(
    cluster: Cluster, checkout: Checkout, experiment: Experiment
) -> None:
    checkout.kustomization("test", namespace=experiment.namespace, resources=["../overlays/dev"])
    manifest = yaml.safe_dump_all(checkout.render("test"))

    def apply(manager: str) -> None:
        cluster.kubectl("apply", "--server-side", f"--field-manager={manager}", "-f", "-", stdin=manifest)

    for manager in MANAGERS:
        apply(manager)
    experiment.kuberay_says("rolloutjob", RUNNING)
    experiment.until_phases("Running", "Waiting", "Waiting")
    before, versions = experiment.written(), experiment.versions()
    for _ in range(TIMES):
        for manager in MANAGERS:
            apply(manager)
    assert experiment.versions() == versions, "not one write"
    assert experiment.written() == before
    assert [job["metadata"]["generation"] for job in experiment.jobs()] == [1, 1, 1]
    assert {each["manager"] for job in experiment.jobs() for each in job["metadata"]["managedFields"]} >= set(MANAGERS)
