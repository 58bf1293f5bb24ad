"""Flux's kustomize-controller keeps an experiment: a whole run, failures, suspension, and changes of immutable specs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import EXAMPLES, OVERLAY, Checkout
from control_plane import Cluster
from experiment import Experiment
from flux import Flux, missing, running_flux
from team import FAILED, RUNNING, SUCCEEDED

pytestmark = pytest.mark.slow

FIRST_RUNS = ("Running", "Waiting", "Waiting")


@pytest.fixture(scope="module")
def flux(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flux]:
    if lacking := missing(cluster.assets):
        pytest.fail(lacking)
    with running_flux(cluster, tmp_path_factory.mktemp("flux")) as flux:
        yield flux


class Repository:
    """What a team has in Git and what Flux keeps of it, under the name of its namespace."""

    def __init__(self, flux: Flux, checkout: Checkout, experiment: Experiment) -> None:
        self.flux, self.checkout, self.experiment = flux, checkout, experiment
        self.patches: list[dict[str, Any]] = []
        self.annotations: dict[str, str] = {}
        self.name = experiment.namespace

    def push(self) -> str:
        """Commit the overlay of this test: the example's, in its namespace."""
        members = {"namespace": self.name, "resources": ["../overlays/dev"], "patches": self.patches}
        self.checkout.kustomization("team", **members, commonAnnotations=self.annotations)
        return self.flux.publish(self.name, self.checkout.folder)

    def patch(self, **spec: Any) -> None:
        """Change members of all three specs."""
        body = [{"op": "add", "path": f"/spec/{name}", "value": value} for name, value in spec.items()]
        self.patches.append({"target": {"group": "mora.dev"}, "patch": yaml.safe_dump(body)})

    def keep(self, **spec: Any) -> None:
        self.flux.keep(self.name, "./team", **spec)

    def run_the_first(self) -> None:
        """Commit the experiment and keep it, until its first job runs and Flux is content."""
        revision = self.push()
        self.keep()
        self.experiment.kuberay_says("rolloutjob", RUNNING)
        self.until_ready(revision)

    def until_ready(self, revision: str) -> None:
        self.flux.until_ready(self.name, revision)

    def reconciled(self, times: int) -> None:
        """Until it was looked at so many times more."""
        goal = self.flux.reconciliations(self.name) + times
        self.experiment.until(lambda: self.flux.reconciliations(self.name) >= goal, "Flux does not reconcile", 60)


@pytest.fixture
def repository(flux: Flux, checkout: Checkout, experiment: Experiment) -> Iterator[Repository]:
    repository = Repository(flux, checkout, experiment)
    yield repository
    flux.stop_keeping(repository.name)


def test_a_whole_run_without_drift_then_everything_is_pruned(repository: Repository, tmp_path: Path) -> None:
    experiment, flux = repository.experiment, repository.flux
    revision = repository.push()
    repository.keep()
    experiment.until_phases("Provisioning", "Waiting", "Waiting")
    written = experiment.written()
    assert flux.ready(repository.name)["status"] != "True", "the first job does not run yet"
    experiment.kuberay_says("rolloutjob", RUNNING)
    repository.until_ready(revision)
    experiment.until_phases(*FIRST_RUNS)

    versions = experiment.versions()
    repository.reconciled(3)
    assert experiment.versions() == versions, "Flux wrote something"

    for kind in ("rolloutjob", "rewritejob", "alignmentjob"):
        experiment.kuberay_says(kind, RUNNING)
        repository.until_ready(revision)
        repository.reconciled(1)
        experiment.kuberay_says(kind, SUCCEEDED)
    experiment.until_phases("Complete", "Complete", "Complete")
    repository.reconciled(2)
    repository.until_ready(revision)
    assert experiment.written() == written
    assert [job["metadata"]["generation"] for job in experiment.jobs()] == [1, 1, 1]

    (tmp_path / "empty" / "team").mkdir(parents=True)
    repository.until_ready(flux.publish(repository.name, tmp_path / "empty"))
    experiment.until(lambda: not experiment.jobs(), "the jobs were not pruned")
    left = [each["metadata"]["name"] for each in (experiment.api.get("configmap") or {"items": []})["items"]]
    assert not [name for name in left if name.startswith("rewards")]
    experiment.until(lambda: not (experiment.api.get("rayjob") or {})["items"], "RayJobs go with their jobs")


def test_a_job_that_fails_fails_the_kustomization(repository: Repository) -> None:
    repository.patch(backoffLimit=0)
    repository.push()
    repository.keep(timeout="20s")
    repository.experiment.kuberay_says("rolloutjob", RUNNING)
    repository.experiment.until_phases(*FIRST_RUNS)
    repository.experiment.kuberay_says("rolloutjob", FAILED)
    repository.experiment.until_phases("Failed", "Stalled", "Waiting")
    failed = repository.flux.until_failed(repository.name)
    assert failed["reason"] == "HealthCheckFailed"
    # It names those that it has seen first: the job, the one that waits for it, or both.
    assert "stalled resources" in failed["message"]
    assert "RolloutJob" in failed["message"] or "RewriteJob" in failed["message"]


def test_a_commit_suspends_and_resumes(repository: Repository) -> None:
    experiment = repository.experiment
    repository.run_the_first()
    uids = experiment.uids()

    repository.patch(suspend=True)
    revision = repository.push()
    experiment.until(lambda: experiment.job("rolloutjob")["spec"]["suspend"], "Flux applied the commit")
    experiment.kuberay_says("rolloutjob", FAILED)  # the driver has stopped
    experiment.until_phases("Suspended", "Suspended", "Suspended")
    repository.until_ready(revision)

    repository.patches.clear()
    revision = repository.push()
    experiment.until(lambda: not experiment.job("rolloutjob")["spec"].get("suspend"), "Flux applied the commit")
    experiment.kuberay_says("rolloutjob", RUNNING, attempt=2)
    repository.until_ready(revision)
    experiment.until_phases(*FIRST_RUNS)
    assert experiment.uids() == uids


def test_a_changed_experiment_with_new_names_takes_the_place_of_the_old_one(repository: Repository) -> None:
    experiment = repository.experiment
    repository.run_the_first()
    before = set(experiment.phases())

    repository.checkout.replace("base/rewards.py", "SHORT_WORDS = 40", "SHORT_WORDS = 50")
    assert repository.checkout.name(path=OVERLAY).returncode == 0
    revision = repository.push()
    experiment.until(lambda: len(now := set(experiment.phases())) == 3 and not now & before, "the old ones are pruned")
    assert repository.flux.ready(repository.name)["status"] != "True", "the new ones do not run yet"
    experiment.kuberay_says("rolloutjob", RUNNING)
    repository.until_ready(revision)
    experiment.until_phases(*FIRST_RUNS)


def test_a_changed_experiment_with_the_same_names_is_made_anew_with_force_only(repository: Repository) -> None:
    experiment = repository.experiment
    repository.run_the_first()
    before = experiment.uids()

    repository.checkout.replace("base/experiment.yaml", "seed: 17", "seed: 18")
    revision = repository.push()
    failed = repository.flux.until_failed(repository.name)
    assert "sampling" in failed["message"]
    assert "immutable" in failed["message"]
    assert experiment.uids() == before

    repository.annotations = {"kustomize.toolkit.fluxcd.io/force": "enabled"}
    revision = repository.push()
    experiment.until(lambda: len(now := experiment.uids()) == 3 and now[0] != before[0], "it is made anew")
    assert experiment.job("rolloutjob")["spec"]["sampling"]["seed"] == 18
    experiment.until_phases("Provisioning", "Waiting", "Waiting")
    experiment.kuberay_says("rolloutjob", RUNNING)
    repository.until_ready(revision)
    assert experiment.uids()[1:] == before[1:], "what did not change stays"


def test_what_people_suspend_by_hand(repository: Repository) -> None:
    """Manifests that do not name the field leave it to `mora suspend`, and to kubectl's users not at all."""
    experiment = repository.experiment
    repository.run_the_first()
    align = experiment.job("alignmentjob")["metadata"]["name"]

    mora = [sys.executable, "-m", "mora_jobs.cli", "suspend", f"alj/{align}", "-n", repository.name]
    environment = os.environ | {"KUBECONFIG": str(experiment.cluster.kubeconfig)}
    done = subprocess.run(mora, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    repository.reconciled(2)
    experiment.until_phases("Running", "Waiting", "Suspended")

    rewrite = experiment.job("rewritejob")["metadata"]["name"]
    patch = ("patch", "rewritejob", rewrite, "--type=merge", "-p", '{"spec": {"suspend": true}}')
    experiment.cluster.kubectl("-n", repository.name, *patch)
    experiment.until(lambda: not experiment.job("rewritejob")["spec"].get("suspend"), "Flux has undone it")
    experiment.until_phases("Running", "Waiting", "Suspended")


def test_a_job_with_a_ttl_is_made_again_and_again(repository: Repository) -> None:
    """Why spec.ttlSecondsAfterFinished is to be left unset."""
    experiment = repository.experiment
    repository.patch(ttlSecondsAfterFinished=0)
    repository.push()
    repository.keep(timeout="15s")
    experiment.kuberay_says("rolloutjob", RUNNING)
    experiment.until_phases(*FIRST_RUNS)
    first = experiment.uids()[0]
    experiment.kuberay_says("rolloutjob", SUCCEEDED)
    experiment.until(lambda: len(now := experiment.uids()) == 3 and now[0] != first, "Flux makes it again")
    experiment.until(lambda: next(iter(experiment.phases().values())) == "Provisioning", "and it runs again")


def test_the_example_for_flux_is_valid(flux: Flux, cluster: Cluster) -> None:
    """And it keeps a folder that is there."""
    file = EXAMPLES / "flux" / "experiment.yaml"
    cluster.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(file))
    source, kept = yaml.safe_load_all(file.read_text())
    assert kept["spec"]["sourceRef"] == {"kind": source["kind"], "name": source["metadata"]["name"]}
    assert (EXAMPLES.parents[1] / kept["spec"]["path"] / "kustomization.yaml").exists()
