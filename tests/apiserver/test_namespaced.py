"""An installation for single namespaces: with the chart's rights in those only, and nothing of the others seen."""

from pathlib import Path

from control_plane import Cluster
from operator_process import OWN_NAMESPACE, Operator, chart_rules, install
from team import Team

ACCOUNT = "namespaced"
RBAC = "rbac.authorization.k8s.io/v1"


def grant(cluster: Cluster, namespace: str, block: str) -> None:
    """A Role of the chart in one namespace, for the account."""
    metadata = {"name": f"{ACCOUNT}-{block.rpartition('.')[2].lower()}", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": metadata["name"]}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": OWN_NAMESPACE}
    cluster.apply(
        {"apiVersion": RBAC, "kind": "Role", "metadata": metadata, "rules": chart_rules(block)},
        {"apiVersion": RBAC, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]},
    )


def test_only_its_namespaces_are_served(cluster: Cluster, tmp_path: Path) -> None:
    install(cluster)
    cluster.kubectl("-n", OWN_NAMESPACE, "delete", "lease", "--all")
    cluster.kubectl("-n", OWN_NAMESPACE, "create", "serviceaccount", ACCOUNT)
    grant(cluster, OWN_NAMESPACE, "mora.ownRules")
    reviews = {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": OWN_NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ACCOUNT}
    cluster.apply(
        {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": ACCOUNT}, "rules": [reviews]},
        {
            "apiVersion": RBAC,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": ACCOUNT},
            "roleRef": role,
            "subjects": [subject],
        },
    )
    for name in ("served-one", "served-two", "not-served"):
        cluster.kubectl("create", "namespace", name)
        if name != "not-served":
            grant(cluster, name, "mora.rules")
    operator = Operator(cluster, tmp_path, flags={"namespaces": "served-one,served-two"}, account=ACCOUNT)
    operator.start()
    try:
        teams = [Team(cluster, operator, name) for name in ("served-one", "served-two", "not-served")]
        teams[2].apply_job("job")
        for team in teams[:2]:
            team.a_whole_job("job")
        assert teams[2].status("job") == {"observedGeneration": -1}
        assert teams[2].get("rayjob", "job-a1") is None
        assert not operator.count("mora_api_requests_total", code="403")
        assert operator.stop() == 0
        assert "Traceback" not in operator.log
    finally:
        if operator.running:
            operator.kill()
