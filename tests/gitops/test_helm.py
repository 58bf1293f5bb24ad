"""Helm 4 waits for custom resources by kstatus: with a chart of experiments, until they run, and not until they are over."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from checkout import EXAMPLES
from control_plane import Cluster
from experiment import Experiment
from team import FAILED, RUNNING

from mora_jobs import validation

CHART = EXAMPLES / "helm-experiment"
TIMEOUT_SECONDS = 60
Done = subprocess.CompletedProcess[str]
Helm = Callable[..., Future[Done]]


def run(cluster: Cluster, *arguments: str) -> Done:
    binary = cluster.assets / "helm"
    assert binary.exists(), f"{cluster.assets} has no helm: these tests need Helm 4"
    environment = {"KUBECONFIG": str(cluster.kubeconfig), "HOME": str(cluster.folder), "PATH": os.environ["PATH"]}
    return subprocess.run([binary, *arguments], capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def helm(cluster: Cluster, experiment: Experiment) -> Iterator[Helm]:
    """Run it in the namespace of the test, in the background: what it waits for, the test does meanwhile."""
    with ThreadPoolExecutor(1) as pool:

        def start(*arguments: str) -> Future[Done]:
            return pool.submit(run, cluster, *arguments, "--namespace", experiment.namespace)

        yield start


def install(helm: Helm, *values: str) -> Future[Done]:
    sets = [part for value in values for part in ("--set", value)]
    return helm("upgrade", "--install", "hh", str(CHART), "--wait", f"--timeout={TIMEOUT_SECONDS}s", *sets)


def test_the_chart_is_valid(cluster: Cluster, tmp_path: Path) -> None:
    rendered = run(cluster, "template", "hh", str(CHART))
    assert rendered.returncode == 0, rendered.stderr
    file = tmp_path / "rendered.yaml"
    file.write_text(rendered.stdout)
    assert validation.check(validation.load([file]), "cluster") == []


def test_wait_returns_when_the_first_job_runs_and_the_others_wait_for_it(helm: Helm, experiment: Experiment) -> None:
    waiting = install(helm)
    experiment.until_phases("Provisioning", "Waiting", "Waiting")
    time.sleep(3)
    assert not waiting.done(), "the first job does not run yet"
    experiment.kuberay_says("rolloutjob", RUNNING)
    done = waiting.result()
    assert done.returncode == 0, done.stderr
    assert list(experiment.phases().values()) == ["Running", "Waiting", "Waiting"]

    before = experiment.written()
    assert install(helm).result().returncode == 0
    assert experiment.written() == before, "an upgrade that changes nothing"

    names = list(experiment.phases())
    suspended = install(helm, "suspend=true")
    experiment.until(lambda: experiment.job("rolloutjob")["spec"]["suspend"], "it is suspended")
    experiment.until_phases("Suspending", "Suspended", "Suspended")
    assert not suspended.done()
    experiment.kuberay_says("rolloutjob", FAILED)
    assert suspended.result().returncode == 0
    assert list(experiment.phases()) == names, "the same jobs"

    assert helm("uninstall", "hh", "--wait").result().returncode == 0
    assert experiment.jobs() == []


def test_wait_fails_at_once_when_a_job_fails(helm: Helm, experiment: Experiment) -> None:
    started = time.monotonic()
    waiting = install(helm, "common.backoffLimit=0")
    experiment.kuberay_says("rolloutjob", FAILED)
    done = waiting.result()
    assert done.returncode != 0
    assert "rollout" in done.stderr
    print(done.stderr)
    assert time.monotonic() - started < TIMEOUT_SECONDS, "not only when the time is over"


def test_other_values_are_other_jobs(helm: Helm, experiment: Experiment) -> None:
    first = install(helm)
    experiment.kuberay_says("rolloutjob", RUNNING)
    assert first.result().returncode == 0
    before = set(experiment.phases())
    second = install(helm, "rollout.sampling.seed=18")
    experiment.until(
        lambda: len(experiment.phases()) == 3 and not before & set(experiment.phases()), "the old ones go"
    )
    experiment.kuberay_says("rolloutjob", RUNNING)
    assert second.result().returncode == 0
    assert experiment.job("rolloutjob")["spec"]["sampling"]["seed"] == 18
