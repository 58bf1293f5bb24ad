"""The chart's README is what helm-docs makes of its values, each of them described, and speaks of what there is."""

import re
import subprocess
from typing import Any

import pytest
import yaml
from chart import CHART, default
from control_plane import ROOT

README = CHART / "README.md"


def test_it_is_up_to_date() -> None:
    done = subprocess.run(
        [str(ROOT / "hack" / "chart" / "docs"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def paths(values: Any, path: str = "") -> list[str]:
    """The values that have no members of their own, by their whole names."""
    if not isinstance(values, dict) or not values:
        return [path]
    return [each for name, value in values.items() for each in paths(value, f"{path}.{name}" if path else name)]


def test_every_value_is_described() -> None:
    rows = dict(re.findall(r"^\| (\S+) \| \w+ \| .* \| (.*) \|$", README.read_text(), re.MULTILINE))
    assert all(text.strip() for text in rows.values()), [name for name, text in rows.items() if not text.strip()]
    for path in paths(yaml.safe_load((CHART / "values.yaml").read_text())):
        assert any(path == name or path.startswith(f"{name}.") for name in rows), path


@pytest.mark.parametrize(
    "text", [README.read_text(), (CHART / "templates" / "NOTES.txt").read_text()], ids=["README", "NOTES"]
)
def test_values_that_are_spoken_of_exist(text: str) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    prose = text.split("## Values")[0]
    top = "|".join(values)
    spoken = re.findall(rf"(?<![\w./-])((?:{top})(?:\.[a-zA-Z]+)+)", prose)
    assert spoken
    for name in spoken:
        member: Any = values
        for part in name.split("."):
            assert part in member, name
            member = member[part]


def test_objects_that_are_spoken_of_exist() -> None:
    text = README.read_text()
    assert f"logs {default().one('Pod')['metadata']['name']}`" in text
    installation = default().flags()["installation"]
    assert f"lease/{installation} configmap/{installation}-authorities" in text
    for crd in default().of("CustomResourceDefinition"):
        assert crd["metadata"]["name"] in text
