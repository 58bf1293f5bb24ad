"""The life of a release: real Helm against a real API server. Jobs and their CRDs outlive all of it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from chart import CHART, Object
from control_plane import ROOT, Cluster
from previous_commit import previous_commit
from releases import Release, await_kinds, read, remove_everything
from small_job import small_job

from mora_jobs.api import KINDS

CRDS = [f"{kind.lower()}s.mora.dev" for kind in KINDS]


@pytest.fixture
def release(cluster: Cluster) -> Iterator[Release]:
    yield Release(cluster)
    remove_everything(cluster)


def make_job(cluster: Cluster, name: str) -> str:
    """A RolloutJob; its uid tells whether it is still the same one."""
    await_kinds(cluster, *CRDS)
    cluster.apply(small_job(name))
    return uid(cluster, name)


def uid(cluster: Cluster, name: str) -> str:
    return cluster.kubectl("get", "rolloutjob", name, "-o", "jsonpath={.metadata.uid}").stdout


def deployment(release: Release) -> Object:
    found: Object = next(each for each in release.live() if each["kind"] == "Deployment")
    return found


def revision(release: Release) -> Object:
    found: Object = json.loads(release.helm("history", release.name, "-o", "json").stdout)[-1]
    return found


def test_install_upgrade_roll_back_uninstall(cluster: Cluster, release: Release) -> None:
    release.install({"runtime": {"image": "run:1"}})
    first = release.manifest()
    assert len(release.live()) == len(first)
    job = make_job(cluster, "lives-on")

    release.upgrade({"runtime": {"image": "run:2"}, "replicas": 3, "networkPolicy": {"enabled": False}})
    upgraded = deployment(release)
    assert upgraded["spec"]["replicas"] == 3
    assert "--runtime-image=run:2" in upgraded["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {each["kind"] for each in first} - {each["kind"] for each in release.live()} == {"NetworkPolicy"}

    release.helm("rollback", release.name, "1")
    back = deployment(release)
    assert back["spec"]["replicas"] == 2
    assert "--runtime-image=run:1" in back["spec"]["template"]["spec"]["containers"][0]["args"]
    assert back["metadata"]["uid"] == upgraded["metadata"]["uid"]
    assert len(release.live()) == len(first)
    assert uid(cluster, "lives-on") == job

    done = release.helm("uninstall", release.name)
    assert "CustomResourceDefinition" in done.stdout + done.stderr, "it says what it leaves"
    assert sorted(each["metadata"]["name"] for each in read(cluster, first)) == sorted(CRDS)
    assert uid(cluster, "lives-on") == job

    release.install()
    assert uid(cluster, "lives-on") == job, "the same release takes up its CRDs again"


def test_an_upgrade_without_changes_changes_nothing_and_keeps_what_others_set(
    cluster: Cluster, release: Release
) -> None:
    release.install()
    cluster.kubectl("-n", "mora-system", "annotate", "service", "mora-operator", "cloud.example/id=7")
    before = {each["metadata"]["uid"]: each["metadata"].get("generation") for each in release.live()}
    release.upgrade()
    after = release.live()
    assert {each["metadata"]["uid"]: each["metadata"].get("generation") for each in after} == before
    names = {(each["kind"], each["metadata"]["name"]): each for each in after}
    assert names["Service", "mora-operator"]["metadata"]["annotations"]["cloud.example/id"] == "7"


def test_crds_get_their_new_version_by_an_upgrade(cluster: Cluster, release: Release, tmp_path: Path) -> None:
    release.install()
    job = make_job(cluster, "survives")
    newer = tmp_path / "mora-operator"
    shutil.copytree(CHART, newer)
    file = newer / "files" / "crds" / "rolloutjobs.mora.dev.yaml"
    crd = yaml.safe_load(file.read_text())
    column = {"name": "Added", "type": "string", "jsonPath": ".metadata.uid"}
    crd["spec"]["versions"][0]["additionalPrinterColumns"].append(column)
    file.write_text(yaml.safe_dump(crd))
    release.upgrade(chart=newer)
    live = json.loads(cluster.kubectl("get", "crd", "rolloutjobs.mora.dev", "-o", "json").stdout)
    assert live["spec"]["versions"][0]["additionalPrinterColumns"][-1] == column
    assert uid(cluster, "survives") == job
    release.helm("rollback", release.name, "1")
    live = json.loads(cluster.kubectl("get", "crd", "rolloutjobs.mora.dev", "-o", "json").stdout)
    assert live["spec"]["versions"][0]["additionalPrinterColumns"][-1] != column
    assert uid(cluster, "survives") == job


def test_crds_stay_when_somebody_else_is_to_see_to_them(cluster: Cluster, release: Release) -> None:
    release.install()
    job = make_job(cluster, "stays")
    release.upgrade({"crds": {"install": False}})
    assert not [each for each in release.manifest() if each["kind"] == "CustomResourceDefinition"]
    assert uid(cluster, "stays") == job
    assert "The CRDs are not this release's" in release.notes()


def test_crds_that_are_there_already_are_taken_over_when_told_so(cluster: Cluster, release: Release) -> None:
    cluster.install_crds()
    job = make_job(cluster, "older")
    refused = release.helm("install", release.name, str(CHART), "--create-namespace", check=False)
    assert refused.returncode != 0
    assert "invalid ownership metadata" in refused.stderr
    release.install(None, "--take-ownership")
    assert uid(cluster, "older") == job


def test_two_installations_serve_two_teams(cluster: Cluster, release: Release) -> None:
    for name in ("team-a", "team-b"):
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    release.install({"namespaces": ["team-a"]})
    second = Release(cluster, "second")
    second.install({"namespaces": ["team-b"], "crds": {"install": False}})
    names = [{(each["kind"], each["metadata"]["name"]) for each in each.live()} for each in (release, second)]
    assert names[1]
    assert not names[0] & names[1]
    second.helm("uninstall", "second")
    assert len(release.live()) == len(release.manifest())


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The chart of the previous commit."""
    chart = "charts/mora-operator"
    return previous_commit(tmp_path / "previous", chart) / chart


def test_the_previous_chart_is_upgraded_and_can_be_returned_to(
    cluster: Cluster, release: Release, previous: Path
) -> None:
    values = {"runtime": {"image": "run:1"}, "progress": {"intervalSeconds": 5}}
    release.install(values, chart=previous)
    job, old = make_job(cluster, "from-before"), deployment(release)
    release.upgrade(None, "--reset-then-reuse-values")
    new = deployment(release)
    assert new["metadata"]["uid"] == old["metadata"]["uid"], "selectors are the same: it is updated, not replaced"
    arguments = new["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {"--runtime-image=run:1", "--progress-interval-seconds=5"} <= set(arguments)
    assert uid(cluster, "from-before") == job
    release.helm("rollback", release.name, "1")
    assert deployment(release)["metadata"]["uid"] == old["metadata"]["uid"]
    assert uid(cluster, "from-before") == job
    assert revision(release)["status"] == "deployed"


NOTES: dict[str, tuple[Object, str]] = {
    "no runtime image": ({}, "NO RUNTIME IMAGE"),
    "single namespaces": ({"namespaces": ["default"]}, "serves the namespaces default."),
    "no rights": ({"rbac": {"create": False}}, "The operator's rights are not this release's"),
}


def test_notes_say_what_to_do_next(cluster: Cluster, release: Release) -> None:
    release.install({"runtime": {"image": "run:1"}})
    assert "KubeRay IS MISSING" in release.notes()
    assert "NO RUNTIME IMAGE" not in release.notes()
    assert "kubectl -n mora-system rollout status deployment/mora-operator" in release.notes()
    crd = ROOT / "tests" / "data" / "kuberay-1.7.0" / "rayjobs.ray.io.json"
    cluster.kubectl("apply", "--server-side", "-f", str(crd))
    await_kinds(cluster, "rayjobs.ray.io")
    for values, said in NOTES.values():
        release.upgrade(values)
        assert said in release.notes()
        assert "KubeRay IS MISSING" not in release.notes()
