"""The chart as real Helm renders it."""

import functools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_plane import ROOT, assets

Object = dict[str, Any]
CHART = ROOT / "charts" / "mora-operator"
RELEASE, NAMESPACE = "mora-operator", "mora-system"

EVERYTHING: Object = {
    "image": {"digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "runtime": {"image": "mora-runtime:1", "rayVersion": "2.60.0"},
    "crds": {"annotations": {"example.com/owner": "platform"}},
    "namespaces": ["team-one", "team-two"],
    "serviceAccount": {"name": "robot", "annotations": {"example.com/role": "none"}},
    "kuberayNamespace": "kuberay",
    "extraArgs": ["--workers=4"],
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
    "networkPolicy": {
        "apiServer": {"cidrs": ["192.0.2.1/32", "2001:db8::1/128"], "ports": [443]},
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "extraIngress": [{"from": [{"ipBlock": {"cidr": "192.0.2.2/32"}}], "ports": [{"port": 8080}]}],
        "extraEgress": [{"to": [{"ipBlock": {"cidr": "192.0.2.3/32"}}], "ports": [{"port": 4317}]}],
    },
    "metrics": {
        "serviceAnnotations": {"prometheus.io/scrape": "true"},
        "serviceMonitor": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "relabelings": [{"targetLabel": "cluster", "replacement": "one"}],
            "metricRelabelings": [{"action": "drop", "sourceLabels": ["__name__"], "regex": "mora_queue_depth"}],
        },
        "prometheusRule": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "alertLabels": {"team": "ml"},
            "disabled": ["MoraQueueSlow"],
            "additionalRules": [{"alert": "Own", "expr": "vector(1)"}],
        },
        "dashboard": {"enabled": True, "annotations": {"grafana_folder": "MORA"}},
    },
    "commonLabels": {"team": "platform"},
    "podLabels": {"pool": "control"},
    "podAnnotations": {"example.com/note": "yes"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "control", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "system-cluster-critical",
}


@functools.cache
def helm_binary() -> str:
    """Helm beside the control plane's binaries."""
    found = assets() / "helm"
    if not found.exists():
        pytest.fail(f"helm (4.3 or newer) is needed for these tests, and is not in {found.parent}", pytrace=False)
    return str(found)


def helm(*arguments: str, values: Object | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run Helm without a cluster; `values` are given to it as a file."""
    given = ["--values", "-"] if values is not None else []
    done = subprocess.run(
        [helm_binary(), *arguments, *given],
        input=json.dumps(values or {}), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done


class Rendered(list[Object]):
    """The objects that a chart makes."""

    def of(self, kind: str) -> list[Object]:
        return [each for each in self if each["kind"] == kind]

    def one(self, kind: str, name: str | None = None) -> Object:
        found = [each for each in self.of(kind) if name in (None, each["metadata"]["name"])]
        assert len(found) == 1, f"{len(found)} of {kind} {name or ''}"
        return found[0]

    @property
    def names(self) -> set[str]:
        return {f"{each['kind']}/{each['metadata']['name']}" for each in self}

    @property
    def pod(self) -> Object:
        """The operator's pod: metadata and spec."""
        template: Object = self.one("Deployment")["spec"]["template"]
        return template

    @property
    def container(self) -> Object:
        (found,) = self.pod["spec"]["containers"]
        return dict(found)

    def flags(self) -> dict[str, str]:
        return dict(flag.removeprefix("--").split("=", 1) for flag in self.container["args"])


def render(
    values: Object | None = None, *flags: str, chart: Path = CHART, release: str = RELEASE, namespace: str = NAMESPACE
) -> Rendered:
    """What `helm template` makes of the values."""
    done = helm("template", release, str(chart), f"--namespace={namespace}", *flags, values=values or {})
    return Rendered(each for each in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if each)


@functools.cache
def default() -> Rendered:
    """What the chart makes of its own values."""
    return render()


@functools.cache
def everything() -> Rendered:
    """What it makes when all is switched on."""
    return render(EVERYTHING)


def strings(value: Any) -> Iterator[str]:
    """All strings within."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield key
            yield from strings(member)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value
