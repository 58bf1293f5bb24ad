"""What the chart says without being rendered: its CRDs are the generated ones, its rights are the least."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mora_jobs.api import KINDS, crd
from mora_operator.settings import Settings

CHART = Path(__file__).parents[2] / "charts" / "mora-operator"
TEMPLATES = CHART / "templates"
crd_yaml = functools.cache(crd.crd_yaml)


def rules() -> list[dict[str, Any]]:
    text = (TEMPLATES / "_helpers.tpl").read_text()
    block = re.search(r'define "mora\.rules" -\}\}\n(.*?)\{\{- end \}\}', text, re.DOTALL)
    assert block is not None
    found: list[dict[str, Any]] = yaml.safe_load(block.group(1))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_charts_crds_are_the_generated_ones(kind: str) -> None:
    assert (CHART / "files" / "crds" / f"{kind.lower()}s.mora.dev.yaml").read_text() == crd_yaml(kind)


def numbers(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int):
        yield value


@pytest.mark.parametrize("kind", KINDS)
def test_helm_can_carry_the_crds_numbers(kind: str) -> None:
    """The template reads and writes the CRDs to add an annotation, and Helm's numbers are floating point."""
    assert max(map(abs, numbers(yaml.safe_load(crd_yaml(kind))))) < 2**53


def test_rights_are_the_least() -> None:
    granted = {
        (group, resource): rule["verbs"]
        for rule in rules()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert "*" not in str(granted)
    assert not [resource for _, resource in granted if resource in ("secrets", "pods/exec", "pods/log")]
    assert granted["", "pods"] == ["list"], "why they do not come up, no more"
    assert set(granted["ray.io", "rayjobs"]) == {"get", "list", "watch", "create", "delete"}, (
        "a RayJob is never changed"
    )
    for kind in KINDS:
        assert granted["mora.dev", f"{kind.lower()}s"] == ["get", "list", "watch", "delete"], (
            "nothing is written into spec"
        )
        assert granted["mora.dev", f"{kind.lower()}s/status"] == ["patch"]


def test_every_flag_that_the_chart_gives_exists() -> None:
    given = set(re.findall(r"- --([a-z-]+)=", (TEMPLATES / "deployment.yaml").read_text()))
    assert given
    assert given <= {name.replace("_", "-") for name in Settings.model_fields}


def test_the_operators_pod_is_hardened() -> None:
    text = (TEMPLATES / "deployment.yaml").read_text()
    for said in (
        "runAsNonRoot: true",
        "seccompProfile: {type: RuntimeDefault}",
        "allowPrivilegeEscalation: false",
        "readOnlyRootFilesystem: true",
        "capabilities: {drop: [ALL]}",
    ):
        assert said in text
