"""Small JSON documents, written canonically so that equal values are equal bytes."""

import json
from typing import Any

from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError


def canonical(value: Any) -> bytes:
    """Sorted keys, two spaces, UTF-8, a final newline. NaN and infinity are refused (ValueError): JSON has no such numbers."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_json(store: Store, path: str) -> Any | None:
    """The document, or None when it is absent. UserError when it is not JSON."""
    try:
        data = store.read(path)
    except FileNotFoundError:
        return None
    try:
        return json.loads(data)
    except ValueError as error:
        raise UserError(
            f"{store.uri}/{path}", f"is damaged: {error}", "restore it from a copy or remove it"
        ) from error


def write_json(store: Store, path: str, value: Any) -> None:
    """Replace the document atomically."""
    store.write(path, canonical(value))
