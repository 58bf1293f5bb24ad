"""Which objects the chart makes, and what each switch changes in them."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart import CHART, Object, Rendered, default, everything, helm, render, strings

from mora_jobs.api import KINDS, crd

CRDS = {f"CustomResourceDefinition/{kind.lower()}s.mora.dev" for kind in KINDS}
USERS = {f"ClusterRole/mora-operator-{name}" for name in ("viewer", "editor", "admin")}
RIGHTS = {
    "ClusterRole/mora-operator",
    "ClusterRoleBinding/mora-operator",
    "Role/mora-operator-own",
    "RoleBinding/mora-operator-own",
}
ALWAYS = {
    "Service/mora-operator",
    "Service/mora-operator-metrics",
    "Deployment/mora-operator",
    "Pod/mora-operator-test",
}
OWN = {
    "ServiceAccount/mora-operator",
    "PodDisruptionBudget/mora-operator",
    "NetworkPolicy/mora-operator",
}
SERVED = {"namespaces": ["team"]}

SWITCHES: dict[str, tuple[Object, set[str], set[str]]] = {
    "crds.install": ({"crds": {"install": False}}, CRDS, set()),
    "rbac.create": ({"rbac": {"create": False}}, RIGHTS, set()),
    "rbac.aggregate": ({"rbac": {"aggregate": False}}, USERS, set()),
    "serviceAccount.create": (
        {"serviceAccount": {"create": False, "name": "robot"}},
        {"ServiceAccount/mora-operator"},
        set(),
    ),
    "podDisruptionBudget": (
        {"podDisruptionBudget": {"enabled": False}},
        {"PodDisruptionBudget/mora-operator"},
        set(),
    ),
    "networkPolicy": ({"networkPolicy": {"enabled": False}}, {"NetworkPolicy/mora-operator"}, set()),
    "namespaces": (SERVED, set(), {"Role/mora-operator", "RoleBinding/mora-operator"}),
    "namespaces without rights": (SERVED | {"rbac": {"create": False}}, RIGHTS, set()),
    "serviceMonitor": (
        {"metrics": {"serviceMonitor": {"enabled": True}}},
        set(),
        {"ServiceMonitor/mora-operator"},
    ),
    "prometheusRule": (
        {"metrics": {"prometheusRule": {"enabled": True}}},
        set(),
        {"PrometheusRule/mora-operator"},
    ),
    "dashboard": (
        {"metrics": {"dashboard": {"enabled": True}}},
        set(),
        {"ConfigMap/mora-operator-dashboard"},
    ),
}


def test_what_is_made_without_being_asked() -> None:
    assert default().names == CRDS | USERS | RIGHTS | ALWAYS | OWN


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_takes_away_or_adds_its_objects_only(switch: str) -> None:
    values, gone, added = SWITCHES[switch]
    assert render(values).names == default().names - gone | added


VALUES: dict[str, tuple[Object, Callable[[Rendered], Any], Any]] = {
    "replicas": ({"replicas": 1}, lambda made: made.one("Deployment")["spec"]["replicas"], 1),
    "image": (
        {"image": {"repository": "registry.example/op", "tag": "2"}},
        lambda made: made.container["image"],
        "registry.example/op:2",
    ),
    "a digest": (
        {"image": {"tag": "2", "digest": "sha256:" + "a" * 64}},
        lambda made: made.container["image"],
        "mora-operator@sha256:" + "a" * 64,
    ),
    "pullPolicy": ({"image": {"pullPolicy": "Never"}}, lambda made: made.container["imagePullPolicy"], "Never"),
    "runtime.image": ({"runtime": {"image": "run:1"}}, lambda made: made.flags()["runtime-image"], "run:1"),
    "runtime.rayVersion": ({"runtime": {"rayVersion": "2.61.0"}}, lambda made: made.flags()["ray-version"], "2.61.0"),
    "intervalSeconds": (
        {"progress": {"intervalSeconds": 2.5}},
        lambda made: made.flags()["progress-interval-seconds"],
        "2.5",
    ),
    "progress.port": (
        {"progress": {"port": 9443}},
        lambda made: (
            made.flags()["progress-port"],
            made.container["ports"][0]["containerPort"],
            made.one("Service", "mora-operator")["spec"]["ports"][0]["port"],
            made.one("NetworkPolicy")["spec"]["ingress"][0]["ports"][0]["port"],
            "mora-operator.mora-system.svc:9443" in " ".join(strings(made.one("Pod"))),
        ),
        ("9443", 9443, 9443, 9443, True),
    ),
    "health.port": (
        {"health": {"port": 9080}},
        lambda made: (
            made.flags()["health-port"],
            made.container["ports"][1]["containerPort"],
            made.one("Service", "mora-operator-metrics")["spec"]["ports"][0]["port"],
            made.one("NetworkPolicy")["spec"]["ingress"][1]["ports"][0]["port"],
            "mora-operator-metrics.mora-system.svc:9080" in " ".join(strings(made.one("Pod"))),
        ),
        ("9080", 9080, 9080, 9080, True),
    ),
    "logLevel": ({"logLevel": "DEBUG"}, lambda made: made.flags()["log-level"], "DEBUG"),
    "namespaces": ({"namespaces": ["a", "b"]}, lambda made: made.flags()["namespaces"], "a,b"),
    "kuberayNamespace": ({"kuberayNamespace": "ray"}, lambda made: made.flags()["kuberay-namespace"], "ray"),
    "kuberayLabels": (
        {"kuberayLabels": {"app": "kuberay"}},
        lambda made: made.flags()["kuberay-labels"],
        "app=kuberay,app.kubernetes.io/component=kuberay-operator",
    ),
    "fullnameOverride": (
        {"fullnameOverride": "second"},
        lambda made: {name.partition("/")[2].split("-")[0] for name in made.names - CRDS},
        {"second"},
    ),
    "nameOverride": (
        {"nameOverride": "mo"},
        lambda made: made.flags()["operator-labels"],
        "app.kubernetes.io/instance=mora-operator,app.kubernetes.io/name=mo",
    ),
    "a budget as a share": (
        {"podDisruptionBudget": {"maxUnavailable": "50%"}},
        lambda made: made.one("PodDisruptionBudget")["spec"]["maxUnavailable"],
        "50%",
    ),
    "monitoring elsewhere": (
        {
            "metrics": {
                name: {"enabled": True, "namespace": "monitoring"}
                for name in ("serviceMonitor", "prometheusRule", "dashboard")
            }
        },
        lambda made: {
            made.one(kind)["metadata"]["namespace"] for kind in ("ServiceMonitor", "PrometheusRule", "ConfigMap")
        },
        {"monitoring"},
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_ends_up_where_it_belongs(name: str) -> None:
    values, read, expected = VALUES[name]
    assert read(render(values)) == expected


def test_a_packaged_chart_makes_the_same(tmp_path: Path) -> None:
    helm("package", str(CHART), f"--destination={tmp_path}")
    (package,) = tmp_path.iterdir()
    assert render(chart=package) == default()
    with tarfile.open(package) as archive:
        names = {name.removeprefix("mora-operator/") for name in archive.getnames()}
    assert {"README.md", "values.schema.json", "files/release_test.py"} <= names
    assert "README.md.gotmpl" not in names


def test_long_release_names_stay_within_what_names_may_have() -> None:
    made = render(release="a" * 53, values={"nameOverride": "b" * 63})
    for each in made:
        assert len(each["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in each["metadata"].get("labels", {}).values())


@pytest.mark.parametrize("made", [default, everything])
def test_every_object_says_whose_it_is(made: Callable[[], Rendered]) -> None:
    for each in made():
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "mora-operator"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["helm.sh/chart"].startswith("mora-operator-")
        assert ("team" in labels) == (made is everything)


@pytest.mark.parametrize("kind", KINDS)
def test_the_charts_crds_are_the_generated_ones_and_stay(kind: str) -> None:
    generated = crd.crd_yaml(kind)
    assert (CHART / "files" / "crds" / f"{kind.lower()}s.mora.dev.yaml").read_text() == generated
    made = default().one("CustomResourceDefinition", f"{kind.lower()}s.mora.dev")
    assert made["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert made["spec"] == yaml.safe_load(generated)["spec"], "Helm's numbers are floating point, and carry these"
