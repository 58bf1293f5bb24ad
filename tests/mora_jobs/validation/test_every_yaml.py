"""Every YAML of ours in examples, documentation and chart is parsed by the models and by the generated schema."""

import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from manifest_table import ROOT
from plain_examples import plain_examples

from mora_jobs.api import GROUP, KINDS
from mora_jobs.validation import check, load
from mora_jobs.validation.schema_faults import schema
from mora_jobs.validation.yaml_documents import read_documents

FENCE = re.compile(r"^( *)```ya?ml\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
FOLDERS = sorted({file.parent for file in plain_examples()})


def texts() -> Iterator[tuple[str, str]]:
    """Every YAML text with a name for it."""
    for folder in ("examples", "docs", "charts"):
        for file in sorted((ROOT / folder).rglob("*.y*ml")):
            if "templates" not in file.parts:  # Helm's language, not YAML
                yield str(file.relative_to(ROOT)), file.read_text()
    for file in [
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "examples").rglob("*.md")),
    ]:
        for number, match in enumerate(FENCE.finditer(file.read_text()), 1):
            lines = [line.removeprefix(match[1]) for line in match[2].splitlines()]
            yield f"{file.relative_to(ROOT)}-{number}", "\n".join(lines) + "\n"


TEXTS = dict(texts())


@pytest.mark.parametrize("name", TEXTS)
def test_it_is_yaml_and_its_manifests_are_admitted(name: str, tmp_path: Path) -> None:
    documents = [document.value for document in read_documents(TEXTS[name])]
    ours = [
        each for each in documents if isinstance(each, dict) and str(each.get("apiVersion")).startswith(f"{GROUP}/")
    ]
    if not ours:
        return
    file = tmp_path / "manifest.yaml"
    file.write_text(TEXTS[name])
    assert [str(fault) for each in load([file]) for fault in each.faults] == []
    for document in ours:
        assert document["kind"] in KINDS
        jsonschema.Draft4Validator(closed(schema(document["kind"]))).validate(document)


def closed(node: dict) -> dict:  # type: ignore[type-arg]
    """The schema in JSON Schema's words: unknown members refused, quantities as texts or integers."""
    if node.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": node["pattern"]}]}
    out = {key: value for key, value in node.items() if not key.startswith("x-") and key not in ("default", "format")}
    if "properties" in node:
        out["properties"] = {
            name: {"type": "object"} if name == "metadata" else closed(child)
            for name, child in node["properties"].items()
        }
        out["additionalProperties"] = False
    for inner in ("items", "additionalProperties"):
        if isinstance(node.get(inner), dict):
            out[inner] = closed(node[inner])
    return out


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_manifests_of_an_example_go_together(folder: Path) -> None:
    assert [str(fault) for fault in check(load([folder]))] == []


def test_something_was_found() -> None:
    assert FOLDERS
    assert any(GROUP in text for text in TEXTS.values())
