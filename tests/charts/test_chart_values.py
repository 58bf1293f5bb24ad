"""What may be given to the chart: its schema refuses what it would not use, and says where."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart import CHART, EVERYTHING, Object, helm, render

REFUSED: dict[str, tuple[Object, str]] = {
    "an unknown member": ({"replicaCount": 3}, "additional properties 'replicaCount' not allowed"),
    "a member of image": ({"image": {"repo": "x"}}, "at '/image': additional properties 'repo' not allowed"),
    "a member of progress": ({"progress": {"interval": 5}}, "at '/progress'"),
    "a member of runtime": ({"runtime": {"rayversion": "2.60.0"}}, "at '/runtime'"),
    "a member of crds": ({"crds": {"enabled": False}}, "at '/crds': additional properties 'enabled' not allowed"),
    "a member of metrics": ({"metrics": {"enabled": True}}, "at '/metrics'"),
    "a member of a ServiceMonitor": ({"metrics": {"serviceMonitor": {"enable": True}}}, "'/metrics/serviceMonitor'"),
    "limit for limits": ({"resources": {"limit": {"cpu": 1}}}, "at '/resources': additional properties 'limit'"),
    "no amount": ({"resources": {"limits": {"memory": "lots"}}}, "at '/resources/limits/memory'"),
    "efect for effect": ({"tolerations": [{"key": "a", "efect": "NoSchedule"}]}, "at '/tolerations/0'"),
    "text for a number": ({"replicas": "two"}, "at '/replicas': got string, want integer"),
    "text for a switch": ({"crds": {"install": "yes"}}, "at '/crds/install': got string, want boolean"),
    "one namespace as text": ({"namespaces": "team"}, "at '/namespaces': got string, want array"),
    "no name of a namespace": ({"namespaces": ["Team_A"]}, "at '/namespaces/0'"),
    "a namespace twice": ({"namespaces": ["a", "a"]}, "at '/namespaces'"),
    "a level in small letters": ({"logLevel": "debug"}, "at '/logLevel': value must be one of 'DEBUG'"),
    "half a digest": ({"image": {"digest": "sha256:abc"}}, "at '/image/digest'"),
    "a tag with a colon": ({"image": {"tag": "repo:1"}}, "at '/image/tag'"),
    "a port that needs root": ({"progress": {"port": 443}}, "at '/progress/port'"),
    "a negative interval": ({"progress": {"intervalSeconds": -1}}, "at '/progress/intervalSeconds'"),
    "all pods of a share": ({"podDisruptionBudget": {"maxUnavailable": "half"}}, "'/podDisruptionBudget/maxUnav"),
    "no labels of KubeRay": ({"kuberayLabels": {"app.kubernetes.io/component": None}}, "at '/kuberayLabels'"),
    "a flag without a value": ({"extraArgs": ["--workers", "4"]}, "at '/extraArgs/0'"),
    "a pull secret as text": ({"imagePullSecrets": ["registry"]}, "at '/imagePullSecrets/0'"),
    "a label of the chart's own": ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "at '/commonLabels/app.kuber"),
    "a CIDR without its length": ({"networkPolicy": {"apiServer": {"cidrs": ["192.0.2.1"]}}}, "apiServer/cidrs/0"),
    "an empty peer": ({"networkPolicy": {"metricsFrom": [{}]}}, "at '/networkPolicy/metricsFrom/0'"),
    "an interval without a unit": ({"metrics": {"serviceMonitor": {"interval": "30"}}}, "serviceMonitor/interval"),
    "an alert that does not exist": ({"metrics": {"prometheusRule": {"disabled": ["Mora"]}}}, "disabled/0"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("command", [("template", "mora"), ("lint",)], ids=["template", "lint"])
def test_what_would_not_be_used_is_refused(case: str, command: tuple[str, ...]) -> None:
    values, said = REFUSED[case]
    done = helm(*command, str(CHART), values=values, check=False)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["its own values", "everything"])
def test_lint_finds_nothing(values: Object) -> None:
    done = helm("lint", "--strict", str(CHART), values=values)
    assert "WARNING" not in done.stdout
    assert "ERROR" not in done.stdout


def test_a_service_account_of_somebody_else_needs_a_name() -> None:
    done = helm("template", "mora", str(CHART), values={"serviceAccount": {"create": False}}, check=False)
    assert "serviceAccount.name is needed when serviceAccount.create is false" in done.stderr


def members(schema: Any, values: Any, path: str = "") -> list[str]:
    """Members that stand in one of them only."""
    if (
        not isinstance(values, dict)
        or not values
        or "properties" not in schema
        or schema.get("additionalProperties") is not False
    ):
        return []
    known = set(schema["properties"]) - {"global"}
    differing = [f"{path}.{name}" for name in known ^ set(values)]
    common = sorted(known & set(values))
    return differing + [
        each for name in common for each in members(schema["properties"][name], values[name], f"{path}.{name}")
    ]


def test_the_schema_and_the_values_name_the_same_members() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    values["resources"]["claims"] = []  # of devices, which the operator has no use for
    assert members(schema, values) == []


def test_it_can_be_part_of_another_chart(tmp_path: Path) -> None:
    parent = tmp_path / "platform"
    (parent / "charts").mkdir(parents=True)
    (parent / "charts" / "mora-operator").symlink_to(CHART)
    dependency = {"name": "mora-operator", "version": "0.x.x"}
    about = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    (parent / "Chart.yaml").write_text(json.dumps(about))
    values = {"global": {"team": "platform"}, "mora-operator": {"replicas": 3}}
    assert render(values, chart=parent, release="platform").one("Deployment")["spec"]["replicas"] == 3
    done = helm("template", "platform", str(parent), values={"mora-operator": {"replica": 3}}, check=False)
    assert "additional properties 'replica' not allowed" in done.stderr
