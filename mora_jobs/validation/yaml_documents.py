"""Reading YAML the way kubectl does, with a line number for every field.

kubectl's parser (go-yaml v2) differs from PyYAML where it hurts: `1e-4` is a number, `2024-01-01` a text, `1:30` a text,
`010` octal, and a whole float is an integer once it has become JSON. Duplicate keys, which both would swallow, are refused.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]
MAX_NODES = 50_000
"""Aliases can make a small file explode; no manifest has so many values."""

_PLAIN, _STR = "plain", "tag:yaml.org,2002:str"
_TAG = "tag:yaml.org,2002:"
_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_NOT_JSON = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INT = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class DocumentError(Exception):
    """A text that is not one well-formed document. `line` counts from 1."""

    def __init__(self, what: str, line: int, path: Path = ()) -> None:
        super().__init__(what)
        self.what, self.line, self.path = what, line, path


@dataclass
class Document:
    """One document: JSON values, and the line of each of them."""

    value: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """The line of a value, or of the innermost object around it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


# libyaml, which go-yaml is a port of: PyYAML's own scanner refuses `{question: why?}`.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _STR
        return _TAG + ("map" if kind is yaml.MappingNode else "seq")


def read_documents(text: str) -> Iterator[Document]:
    """The documents of a YAML (or JSON) text, empty ones left out. Raises DocumentError."""
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            document = Document(None)
            document.value = _Reader(document).read(node, ()) if node is not None else None
            if document.value is not None:
                yield document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.problem, error.context) if part)
        raise DocumentError(f"not YAML: {what}", mark.line + 1 if mark else 1) from None
    except yaml.YAMLError as error:
        raise DocumentError(f"not YAML: {str(error).splitlines()[0]}", 1) from None
    finally:
        loader.dispose()


class _Reader:
    def __init__(self, document: Document) -> None:
        self.lines = document.lines
        self.nodes = 0

    def read(self, node: yaml.Node, path: Path) -> Any:
        self.nodes += 1
        line = node.start_mark.line + 1
        if self.nodes > MAX_NODES:
            raise DocumentError("too many values", line, path)
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return _scalar(node, line, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        members: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.value == "<<" and key_node.tag == _PLAIN:
                merged = self._merge(value_node, path) | merged
                continue
            key = self._key(key_node, path, line)
            if key in members:
                raise DocumentError(
                    f"{key} is given twice, first in line {self.lines[(*path, key)]}", line, (*path, key)
                )
            self.lines[(*path, key)] = line
            members[key] = self.read(value_node, (*path, key))
        return merged | members

    def _merge(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise DocumentError("<< needs an object", node.start_mark.line + 1, path)
            merged = self._mapping(source, path) | merged
        return merged

    def _key(self, node: yaml.Node, path: Path, line: int) -> str:
        key = _scalar(node, line, path) if isinstance(node, yaml.ScalarNode) else None
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise DocumentError("a key must be a text; put it in quotes", line, path)
        return str(key)


def _scalar(node: yaml.Node, line: int, path: Path) -> Any:
    text = str(node.value)
    if node.tag in (_STR, "!"):
        return text
    if node.tag != _PLAIN and node.tag not in {_TAG + name for name in ("int", "float", "bool", "null")}:
        raise DocumentError(f"tag {node.tag} is not JSON", line, path)
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _NOT_JSON.fullmatch(text):
        raise DocumentError(f"{text} is not a JSON number", line, path)
    return _number(text.replace("_", "")) if text[0] in "0123456789+-." else text


def _number(text: str) -> Any:
    """The number that go-yaml sees, as JSON would carry it; the text itself where it is none."""
    if _INT.fullmatch(text):
        digits = text.lstrip("+-").lower()
        octal = len(digits) > 1 and digits[0] == "0" and digits[1] not in "xbo"
        value = int(digits, 8 if octal else 0)
        return -value if text[0] == "-" else value
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            return text
        return int(number) if number.is_integer() and abs(number) < 1e21 else number
    return text
