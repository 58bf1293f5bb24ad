"""A real API server takes every object of the chart, strictly, and its pods under Pod Security `restricted`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from chart import CHART, EVERYTHING, NAMESPACE, Object, Rendered, default, everything, render
from control_plane import Cluster
from releases import Release, await_kinds, remove_everything

MONITORING = Path(__file__).parent / "data" / "prometheus-operator-0.85.0"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Cluster:
    """Namespaces that the values speak of, and the kinds of the Prometheus operator."""
    for name in (NAMESPACE, *EVERYTHING["namespaces"]):
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
    cluster.kubectl("apply", "--server-side", *(f"--filename={file}" for file in sorted(MONITORING.glob("*.json"))))
    await_kinds(cluster, *(file.name.removesuffix(".json") for file in MONITORING.glob("*.json")))
    return cluster


def dry_run(cluster: Cluster, *objects: Object) -> str:
    """Server-side, strictly: an unknown field is an error. Returns warnings."""
    listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    done = cluster.kubectl(
        "create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(listed), check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("made", [default, everything])
def test_every_object_is_taken(prepared: Cluster, made: Callable[[], Rendered]) -> None:
    assert dry_run(prepared, *made()) == "", "no warnings either"


@pytest.mark.parametrize("made", [default, everything])
def test_the_operators_pods_may_run_under_restricted(prepared: Cluster, made: Callable[[], Rendered]) -> None:
    metadata = {"name": "operator", "namespace": NAMESPACE, "labels": made().pod["metadata"]["labels"]}
    assert (
        dry_run(prepared, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": made().pod["spec"]}) == ""
    )


def test_restricted_is_enforced_here(prepared: Cluster) -> None:
    """Else the tests above would show nothing."""
    loose = render({"securityContext": {"allowPrivilegeEscalation": True}})
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        dry_run(prepared, loose.one("Pod"))


def test_monitoring_is_asked_for_where_its_kinds_are_missing(cluster: Cluster) -> None:
    """Helm says so before it makes anything; without the switches nothing is missed."""
    remove_everything(cluster)
    release = Release(cluster, namespace="elsewhere")
    for name in ("serviceMonitor", "prometheusRule"):
        done = release.helm(
            "install",
            "mora",
            str(CHART),
            "--create-namespace",
            values={"metrics": {name: {"enabled": True}}},
            check=False,
        )
        assert done.returncode != 0
        assert "monitoring.coreos.com/v1" in done.stderr
        assert "ensure CRDs are installed first" in done.stderr
    remove_everything(cluster)
    release.install()


USERS: list[tuple[str, str, str, bool]] = [
    ("viewer", "get", "rolloutjobs", True),
    ("viewer", "create", "rolloutjobs", False),
    ("viewer", "get", "rolloutjobs/status", True),
    ("editor", "create", "alignmentjobs", True),
    ("editor", "delete", "rewritejobs", True),
    ("editor", "deletecollection", "rewritejobs", False),
    ("editor", "patch", "rolloutjobs/status", False),
    ("admin", "deletecollection", "rolloutjobs", True),
    ("admin", "patch", "rolloutjobs/status", True),
    ("admin", "create", "rayjobs", False),
]


def test_users_may_what_their_role_says(cluster: Cluster) -> None:
    remove_everything(cluster)
    release = Release(cluster)
    release.install()
    for role in ("viewer", "editor", "admin"):
        cluster.kubectl(
            "-n",
            "default",
            "create",
            "rolebinding",
            f"mora-{role}",
            f"--user={role}",
            f"--clusterrole=mora-operator-{role}",
        )
    for role, verb, resource, allowed in USERS:
        group = "ray.io" if resource == "rayjobs" else "mora.dev"
        name, _, subresource = resource.partition("/")
        asked = ["auth", "can-i", verb, f"{name}.{group}", "-n", "default", f"--as={role}"]
        asked += [f"--subresource={subresource}"] if subresource else []
        answer = cluster.kubectl(*asked, check=False).stdout.strip()
        assert answer == ("yes" if allowed else "no"), (role, verb, resource)
    remove_everything(cluster)


def test_the_clusters_own_roles_gather_them(cluster: Cluster) -> None:
    """The controller that gathers does not run here: its selectors are asked instead."""
    roles = {each["metadata"]["name"]: each for each in default().of("ClusterRole")}
    for role, own in (("view", "viewer"), ("edit", "editor"), ("admin", "admin")):
        live = json.loads(cluster.kubectl("get", "clusterrole", role, "-o", "json").stdout)
        selectors = [each["matchLabels"] for each in live["aggregationRule"]["clusterRoleSelectors"]]
        labels = roles[f"mora-operator-{own}"]["metadata"]["labels"]
        assert any(selector.items() <= labels.items() for selector in selectors)
