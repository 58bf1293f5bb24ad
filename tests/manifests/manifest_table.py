"""The good and bad manifests of this folder, for offline tests and for those against the API server."""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mora_jobs.validation.yaml_documents import read_documents

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GOOD = HERE / "good"


@dataclass(frozen=True)
class Bad:
    """A document that must be refused: `path` and `says` are the offline words, `server` the API server's field."""

    id: str
    document: dict[str, Any]
    path: str
    says: str
    server: str


def documents(file: Path) -> list[dict[str, Any]]:
    """The documents of a file, parsed as kubectl does."""
    return [document.value for document in read_documents(file.read_text())]


def good_documents() -> dict[str, dict[str, Any]]:
    """Every good document by kind/name."""
    found = [document for file in sorted(GOOD.iterdir()) for document in documents(file)]
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in found}


def minimal() -> dict[str, dict[str, Any]]:
    """The minimal document of each kind."""
    return {document["kind"]: document for document in documents(GOOD / "minimal.yaml")}


def bad() -> Iterator[Bad]:
    """Every bad document of bad.yaml."""
    entries = documents(HERE / "bad.yaml")[0]
    for number, entry in enumerate(entries, 1):
        document = copy.deepcopy(minimal()[entry["kind"]])
        for path, value in entry.get("set", {}).items():
            put(document, parts(path), value)
        if "remove" in entry:
            remove(document, parts(entry["remove"]))
        path = entry["path"]
        yield Bad(f"{number}-{path}", document, path, entry["says"], entry.get("server", path))


def parts(path: str) -> list[str | int]:
    """spec.rewards[0].name is ["spec", "rewards", 0, "name"]."""
    found = re.findall(r"\[\d+\]|[^.\[\]]+", path)
    return [int(part[1:-1]) if part.startswith("[") else part for part in found]


def put(document: Any, path: list[str | int], value: Any) -> None:
    """Set a value, making objects on the way."""
    *head, last = path
    for part in head:
        document = document.setdefault(part, {}) if isinstance(document, dict) else document[part]
    document[last] = copy.deepcopy(value)


def remove(document: Any, path: list[str | int]) -> None:
    """Remove a member."""
    *head, last = path
    for part in head:
        document = document[part]
    del document[last]
