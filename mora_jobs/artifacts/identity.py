"""Whose artifacts these are: `job.json` holds the identity of the experiment, `_complete.json` what it finished with.

Without this a folder could be resumed by another experiment, and the results would be a mixture of both.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from mora_jobs.artifacts.document import canonical, read_json, write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError

JOB = "job.json"
COMPLETE = "_complete.json"
SHOWN = 5
MISSING = object()
SECRET = re.compile(
    r"(^|.*[_.-])?(.*password|passwd|.*secret|.*api_?key|.*access_?key|.*(auth|access|hf|bearer)_?token|token|authorization)$",
    re.I,
)

Policy = Literal["Resume", "Fail", "Overwrite"]
_claimed: set[str] = set()  # roots that this process may write to


def claim(store: Store, identity: Mapping[str, Any], policy: Policy, run: str | None = None) -> None:
    """Make the store this experiment's, or find that it is already.

    The same `run` (a job's uid: its attempts share it) always goes on where it stopped. Another run of an equal identity
    goes on under Resume, is refused under Fail, starts afresh under Overwrite. Another identity is refused with the
    fields that differ, or replaced under Overwrite. Values at names like `password` or `apiKey` are never stored or shown.
    A folder with files in it but without `job.json` is not ours and never touched: UserError.
    """
    ours = json.loads(canonical(without_secrets(identity)))
    mine = canonical({"identity": ours, "run": run})
    files = [] if store.exists(JOB) else store.list()
    if files and JOB not in files:
        raise UserError(store.uri, "is not empty and holds no job.json", "choose an empty output.uri")
    _take(store, ours, mine, policy, run)
    _claimed.add(store.uri)


def is_claimed(store: Store) -> bool:
    """Whether this process claimed the store: nothing else (an exit record, a log) may be put beside another's artifacts."""
    return store.uri in _claimed


def _take(store: Store, ours: dict[str, Any], mine: bytes, policy: Policy, run: str | None) -> None:
    if store.create(JOB, mine):
        return
    there = read_json(store, JOB)
    differing = list(differences(there["identity"], ours))
    if not differing and run is not None and there.get("run") == run:
        return
    if policy == "Overwrite":
        _start_over(store, mine)
    elif differing:
        shown = ", ".join(f"{path} ({_short(a)} there, {_short(b)} here)" for path, a, b in differing[:SHOWN])
        more = f", and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        todo = "use another output.uri, or output.overwritePolicy: Overwrite"
        raise UserError(store.uri, f"holds another experiment: it differs in {shown}{more}", todo)
    elif policy == "Fail":
        raise UserError(
            store.uri, "already holds this experiment", "set output.overwritePolicy: Resume, or use another output.uri"
        )


def complete(store: Store, outputs: Mapping[str, Any]) -> None:
    """Say that everything is there. `outputs` maps a name to its digest (and whatever else the reader should know)."""
    write_json(store, COMPLETE, {"outputs": outputs})


def is_complete(store: Store) -> dict[str, Any] | None:
    """The outputs that `complete` was called with, or None."""
    found = read_json(store, COMPLETE)
    return None if found is None else dict(found["outputs"])


def differences(there: Any, here: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted path, value there, value here) of every leaf that differs; list elements as `name[3]`."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in sorted(there.keys() | here.keys()):
            below = f"{path}.{name}" if path else name
            yield from differences(there.get(name, MISSING), here.get(name, MISSING), below)
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for index, (a, b) in enumerate(zip(there, here, strict=True)):
            yield from differences(a, b, f"{path}[{index}]")
    elif isinstance(there, bool) != isinstance(here, bool) or there != here:
        yield path, there, here


def without_secrets(value: Any, name: str = "") -> Any:
    """A copy without values whose name says that they are secret; also {"name": "HF_TOKEN", "value": …} of an env list."""
    if isinstance(value, Mapping):
        named = str(value.get("name", "")) if "value" in value else ""
        return {
            key: without_secrets(each, key)
            for key, each in value.items()
            if not (isinstance(each, str) and SECRET.match(key)) and not (key == "value" and SECRET.match(named))
        }
    if isinstance(value, (list, tuple)):
        return [without_secrets(each, name) for each in value]
    return value


def _start_over(store: Store, mine: bytes) -> None:
    # job.json goes last: cut off in between, the folder still says that it is the old experiment's.
    store.delete(COMPLETE)
    for path in store.list():
        if path != JOB:
            store.delete(path)
    store.write(JOB, mine)


def _short(value: Any) -> str:
    text = "nothing" if value is MISSING else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "…"
