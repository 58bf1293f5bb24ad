"""`--set KIND/NAME.spec.path=value`: one member of one manifest replaced before anything is checked.

The value is YAML (`3`, `0.7`, `true`, `[a, b]`, `null` removes the member). List elements are named by index or by their
name: `spec.rewards[0].scale`, `spec.rewards[helpful].scale`. Names that do not exist are refused with the nearest one.
"""

import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Union, get_args, get_origin

from mora_jobs.api import KINDS, Model
from mora_jobs.api.crosscheck import nearest
from mora_jobs.api.kinds import kind_of
from mora_jobs.errors import UserError
from mora_jobs.validation.yaml_documents import DocumentError, read_documents

SEGMENT = re.compile(r"\.([A-Za-z0-9_-]+)|\[([^\]]+)\]")


@dataclass(frozen=True, slots=True)
class Override:
    """A parsed `--set`. `path` holds member names, and for list elements "[index]" or "[name]"."""

    text: str
    kind: str
    name: str
    path: tuple[str, ...]
    value: Any = field(hash=False, compare=False)

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def where(self) -> str:
        return f"--set {self.text}"


def parse(text: str) -> Override:
    """Read one `--set`. UserError when it is not of the form KIND/NAME.spec.path=value."""
    where = f"--set {text}"
    target, equals, value = text.partition("=")
    match = re.fullmatch(r"([A-Za-z]+)/([A-Za-z0-9-]+)(\..*)", target.strip())
    if not equals or match is None:
        raise UserError(where, "is not of the form KIND/NAME.spec.path=value")
    kind, name, rest = match.groups()
    segments = [f"[{index}]" if index else member for member, index in SEGMENT.findall(rest)]
    if "".join(s if s.startswith("[") else f".{s}" for s in segments) != rest:
        raise UserError(where, f"cannot read the path {rest!r}", "write e.g. .spec.rewards[0].scale")
    if segments[0] != "spec" or len(segments) < 2:
        raise UserError(where, "only members of spec can be set")
    try:
        parsed = next(read_documents(value), None)
    except DocumentError as error:
        raise UserError(where, f"the value is {error.what}", "put it in quotes") from None
    return Override(text, _kind(kind, where), name, tuple(segments), parsed.value if parsed else None)


class Overrides:
    """All `--set` of a command. `change` is called with every document; `check_used` afterwards."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._overrides = [parse(text) for text in texts]
        self._seen: set[str] = set()
        self._used: set[Override] = set()

    def change(self, doc: dict[str, Any]) -> None:
        """Apply what is about this document, in place. UserError with the nearest name if a member is not there."""
        metadata = doc.get("metadata")
        key = f"{doc.get('kind')}/{metadata.get('name') if isinstance(metadata, dict) else None}"
        self._seen.add(key)
        for override in self._overrides:
            if override.key == key:
                _apply(override, doc)
                self._used.add(override)

    def check_used(self) -> None:
        """UserError for an override of a manifest that was not among the documents."""
        for override in self._overrides:
            if override not in self._used:
                raise UserError(override.where, f"there is no {override.key}{nearest(override.key, self._seen)}")


def _apply(override: Override, doc: dict[str, Any]) -> None:
    node: Any = doc
    model: Any = KINDS[override.kind]
    for position, segment in enumerate(override.path):
        last = position == len(override.path) - 1
        place = ".".join(override.path[: position + 1]).replace(".[", "[")
        if segment.startswith("["):
            index = _index(node, segment[1:-1], override.where, place)
            model = _element(model)
            if last:
                node[index] = override.value
            else:
                node = node[index]
            continue
        model = _member(model, segment, override.where, place)
        if not isinstance(node, dict):
            raise UserError(override.where, f"{place}: its parent is not an object")
        if not last:
            node = node.setdefault(segment, [] if get_origin(_bare(model)) is list else {})
        elif override.value is None:
            node.pop(segment, None)
        else:
            node[segment] = override.value


def _kind(text: str, where: str) -> str:
    try:
        return kind_of(text)
    except ValueError as error:
        raise UserError(where, f"{text} {error}") from None


def _member(model: Any, name: str, where: str, place: str) -> Any:
    """The type of a member of an object of type `model`; Any below open subtrees."""
    model = _bare(model)
    if isinstance(model, type) and issubclass(model, Model):
        fields = {field.alias or key: field for key, field in model.model_fields.items()}
        if name not in fields:
            raise UserError(where, f"{place} does not exist{nearest(name, set(fields))}")
        return fields[name].annotation
    return get_args(model)[1] if get_origin(model) in (dict, Mapping) else Any


def _element(model: Any) -> Any:
    model = _bare(model)
    return get_args(model)[0] if get_origin(model) is list else Any


def _bare(annotation: Any) -> Any:
    """The type without Annotated and without None."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            members = [member for member in get_args(annotation) if member is not type(None)]
            if len(members) != 1:
                return annotation
            annotation = members[0]
        else:
            return annotation


def _index(node: Any, wanted: str, where: str, place: str) -> int:
    if not isinstance(node, list):
        raise UserError(where, f"{place}: there is no list in the manifest")
    if wanted.isdigit():
        if int(wanted) < len(node):
            return int(wanted)
        raise UserError(where, f"{place} does not exist", f"the list has {len(node)} elements")
    names = [each.get("name") or each.get("dimension") for each in node if isinstance(each, dict)]
    if wanted in names:
        return names.index(wanted)
    raise UserError(where, f"{place} does not exist{nearest(wanted, {str(name) for name in names})}")
