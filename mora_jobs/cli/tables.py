"""Objects as tables, with the columns that the CRDs declare: the same as `kubectl get` prints."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from mora_jobs.api.crd import printer_columns

from .source import Object

_CONDITION = re.compile(r"\.status\.conditions\[\?\(@\.type==\"(\w+)\"\)\]\.(\w+)")


def table_of(objects: Sequence[Object], kind: str, wide: bool = False, namespaces: bool = False) -> Table:
    """The table of the objects of one kind."""
    columns = [column for column in _columns(kind) if wide or not column.get("priority")]
    table = Table(box=None, padding=(0, 3, 0, 0), show_edge=False, header_style="bold")
    for name in [*(["Namespace"] if namespaces else []), "Name", *(column["name"] for column in columns)]:
        table.add_column(name.upper(), no_wrap=name != "Message", overflow="fold")
    for thing in objects:
        first = [thing["metadata"].get("namespace", "")] if namespaces else []
        table.add_row(*first, f"{kind}/{thing['metadata']['name']}", *(_cell(thing, column) for column in columns))
    return table


def print_objects(objects: Sequence[Object], form: str | None, console: Console, namespaces: bool = False) -> None:
    """Print objects as a table, wide, json, yaml or name."""
    if form in ("json", "yaml"):
        print(dump(objects[0] if len(objects) == 1 else _list(objects), form))
        return
    if form == "name":
        for thing in objects:
            print(f"{thing['kind']}/{thing['metadata']['name']}")
        return
    kinds = list(dict.fromkeys(thing["kind"] for thing in objects))
    for index, kind in enumerate(kinds):
        if index:
            console.print()
        of_kind = [thing for thing in objects if thing["kind"] == kind]
        console.print(table_of(of_kind, kind, form == "wide", namespaces))


def dump(value: Any, form: str) -> str:
    """JSON or YAML."""
    if form == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=119)
    return text.rstrip("\n")


def age(time: str | None, now: datetime | None = None) -> str:
    """5s, 12m, 3h, 9d: as kubectl."""
    if not time:
        return "<unknown>"
    seconds = int(((now or datetime.now(UTC)) - datetime.fromisoformat(time)).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{max(seconds, 0)}s"


def value_at(thing: Object, path: str) -> Any:
    """The value at a JSON path of the two forms that printer columns use; None where there is none."""
    if match := _CONDITION.fullmatch(path):
        conditions = thing.get("status", {}).get("conditions", [])
        return next((each.get(match[2]) for each in conditions if each["type"] == match[1]), None)
    node: Any = thing
    for part in path.removeprefix(".").split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


@cache
def _columns(kind: str) -> list[dict[str, Any]]:
    return printer_columns(kind)


def _cell(thing: Object, column: dict[str, Any]) -> str:
    value = value_at(thing, column["jsonPath"])
    if column["type"] == "date":
        return age(value)
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def _list(objects: Sequence[Object]) -> Object:
    return {"apiVersion": "v1", "kind": "List", "items": list(objects)}
