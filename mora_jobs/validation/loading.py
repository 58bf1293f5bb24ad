"""Manifests from files and folders."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mora_jobs.api import API_VERSION, GROUP, KINDS, Job
from mora_jobs.api.crosscheck import nearest
from mora_jobs.errors import UserError

from . import cel_rules, schema_faults
from .fault import Fault, write_path
from .yaml_documents import Document, DocumentError, read_documents

SUFFIXES = (".yaml", ".yml")
Change = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Loaded:
    """One document of a manifest. `job` is None where `faults` tell what is wrong with it."""

    file: Path
    doc: dict[str, Any]
    job: Job | None
    faults: tuple[Fault, ...] = ()
    document: Document | None = None

    def fault(self, path: str, message: str, reason: str = "InvalidSpec") -> Fault:
        """A fault of this document."""
        return _fault(self.file, self.document or Document(self.doc), _parts(path), message, reason)


def load(paths: Iterable[str | Path], change: Change = lambda doc: None) -> list[Loaded]:
    """Every document of our kinds in the files and folders (not their subfolders), in order; other kinds are left out.

    `change` is called with each document before it is checked, and may change it in place (`mora run --set`). Raises UserError for a path that is not there and where nothing was found.
    """
    loaded = [each for file in _files(paths) for each in _load_file(file, change)]
    if not loaded:
        names = ", ".join(str(path) for path in paths)
        raise UserError(names, f"there is no document of {GROUP}", f"its kinds are {', '.join(KINDS)}")
    return loaded


def _files(paths: Iterable[str | Path]) -> Iterator[Path]:
    for path in map(Path, paths):
        if path.is_dir():
            yield from sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
        elif path.is_file():
            yield path
        else:
            raise UserError(str(path), "there is no such file or folder")


def _load_file(file: Path, change: Change) -> Iterator[Loaded]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        yield _broken(file, DocumentError("not UTF-8", line))
        return
    try:
        for document in read_documents(text):
            for each in _items(document):
                if isinstance(each.value, dict):
                    change(each.value)
                yield from _load_document(file, each)
    except DocumentError as error:
        yield _broken(file, error)


def _items(document: Document) -> Iterator[Document]:
    """The document itself, or the items of a v1 List."""
    value = document.value
    if not isinstance(value, dict) or value.get("kind") != "List" or not isinstance(value.get("items"), list):
        yield document
        return
    for index, item in enumerate(value["items"]):
        prefix = ("items", index)
        yield Document(item, {path[2:]: line for path, line in document.lines.items() if path[:2] == prefix})


def _load_document(file: Path, document: Document) -> Iterator[Loaded]:
    doc = document.value
    if not isinstance(doc, dict) or not isinstance(doc.get("apiVersion"), str) or not isinstance(doc.get("kind"), str):
        fault = _fault(file, document, (), "a document needs apiVersion and kind", "InvalidDocument")
        yield Loaded(file, {}, None, (fault,), document)
        return
    version, kind = doc["apiVersion"], doc["kind"]
    if version.partition("/")[0] != GROUP:
        return
    if version != API_VERSION:
        fault = _fault(file, document, ("apiVersion",), f"must be {API_VERSION}, not {version}")
        yield Loaded(file, doc, None, (fault,), document)
    elif kind not in KINDS:
        message = f"there is no kind {kind}{nearest(kind, list(KINDS))}"
        yield Loaded(file, doc, None, (_fault(file, document, ("kind",), message),), document)
    else:
        job, found = schema_faults.parse(doc)
        if job is not None:
            found = list(cel_rules.broken_rules(job.to_dict(), schema_faults.schema(kind)))
        faults = tuple(_fault(file, document, path, message) for path, message in found)
        yield Loaded(file, doc, None if faults else job, faults, document)


def _broken(file: Path, error: DocumentError) -> Loaded:
    where = f"{write_path(error.path)}: " if error.path else ""
    return Loaded(file, {}, None, (Fault(file, error.line, "", "", "", where + error.what, "InvalidDocument"),))


def _fault(file: Path, document: Document, path: Any, message: str, reason: str = "InvalidSpec") -> Fault:
    doc = document.value if isinstance(document.value, dict) else {}
    metadata = doc.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, dict) else ""
    return Fault(file, document.line(path), str(doc.get("kind", "")), str(name), write_path(path), message, reason)


def _parts(path: str) -> tuple[str | int, ...]:
    """The reverse of write_path, for paths without dots in map keys."""
    parts: list[str | int] = []
    for part in path.replace("[", ".[").split("."):
        parts.append(int(part[1:-1]) if part.startswith("[") else part)
    return tuple(parts)
