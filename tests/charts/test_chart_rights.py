"""Who may do what: the operator no more than it asks for, users by the cluster's own roles."""

from typing import Any

import pytest
from chart import Object, Rendered, default, everything, render
from operator_process import chart_rules

from mora_jobs.api import KINDS

JOBS = [f"{kind.lower()}s" for kind in KINDS]
REVIEWS = {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
READ = {"get", "list", "watch"}
WRITE = {"create", "update", "patch", "delete"}


def granted(rules: list[Object]) -> dict[tuple[str, str], set[str]]:
    """Verbs by group and resource."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                verbs.setdefault((group, resource), set()).update(rule["verbs"])
    return verbs


def test_the_operators_rights_are_the_least() -> None:
    rights = granted(chart_rules("mora.rules"))
    assert "*" not in str(rights)
    assert not [resource for _, resource in rights if resource in ("secrets", "pods/exec", "pods/log")]
    assert rights["", "pods"] == {"list"}, "why they do not come up, no more"
    assert rights["ray.io", "rayjobs"] == READ | {"create", "delete"}, "a RayJob is never changed"
    for jobs in JOBS:
        assert rights["mora.dev", jobs] == READ | {"delete"}, "nothing is written into spec"
        assert rights["mora.dev", f"{jobs}/status"] == {"patch"}


def bound(made: Rendered, binding: Object) -> tuple[list[Object], Object]:
    """The rules that a binding gives, and to whom."""
    role = made.one(binding["roleRef"]["kind"], binding["roleRef"]["name"])
    if binding["kind"] == "RoleBinding":
        candidates = [each for each in made.of("Role") if each["metadata"]["name"] == binding["roleRef"]["name"]]
        role = next(e for e in candidates if e["metadata"]["namespace"] == binding["metadata"]["namespace"])
    (subject,) = binding["subjects"]
    return role["rules"], subject


def test_for_the_whole_cluster_it_has_them_everywhere() -> None:
    made = default()
    rules, subject = bound(made, made.one("ClusterRoleBinding"))
    assert rules == [REVIEWS, *chart_rules("mora.rules")]
    assert subject == {"kind": "ServiceAccount", "name": "mora-operator", "namespace": "mora-system"}
    own, subject = bound(made, made.one("RoleBinding"))
    assert own == chart_rules("mora.ownRules")
    assert made.one("RoleBinding")["metadata"]["namespace"] == subject["namespace"] == "mora-system"


def test_for_single_namespaces_it_has_them_there_only() -> None:
    made = everything()
    assert made.one("ClusterRole", "mora-operator")["rules"] == [REVIEWS]
    places: dict[str, Any] = {}
    for binding in made.of("RoleBinding"):
        role = next(
            each
            for each in made.of("Role")
            if each["metadata"]["name"] == binding["roleRef"]["name"]
            and each["metadata"]["namespace"] == binding["metadata"]["namespace"]
        )
        places[binding["metadata"]["namespace"]] = role["rules"]
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "robot", "namespace": "mora-system"}]
    everywhere = chart_rules("mora.rules")
    assert places == {"mora-system": chart_rules("mora.ownRules"), "team-one": everywhere, "team-two": everywhere}


def test_it_can_serve_its_own_namespace() -> None:
    made = render({"namespaces": ["mora-system"]})
    assert {each["metadata"]["name"] for each in made.of("Role")} == {"mora-operator", "mora-operator-own"}


@pytest.mark.parametrize(
    ("role", "aggregated", "on_jobs", "on_status"),
    [
        ("viewer", "view", READ, {"get"}),
        ("editor", "edit", READ | WRITE, {"get"}),
        ("admin", "admin", READ | WRITE | {"deletecollection"}, {"get", "update", "patch"}),
    ],
)
def test_users_get_theirs_by_the_clusters_roles(
    role: str, aggregated: str, on_jobs: set[str], on_status: set[str]
) -> None:
    made = default().one("ClusterRole", f"mora-operator-{role}")
    found = [name for name in made["metadata"]["labels"] if name.startswith("rbac.authorization.k8s.io/")]
    assert found == [f"rbac.authorization.k8s.io/aggregate-to-{aggregated}"]
    assert granted(made["rules"]) == {("mora.dev", jobs): on_jobs for jobs in JOBS} | {
        ("mora.dev", f"{jobs}/status"): on_status for jobs in JOBS
    }
