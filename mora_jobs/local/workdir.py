"""The folder of one `mora run`: what it writes where, and who may write.

    status/rolloutjob-NAME.yaml    the whole object with its status, as `kubectl get -o yaml` shows it in a cluster
    jobs/rolloutjob-NAME.json      the resolved job that the driver reads
    logs/rolloutjob-NAME.log       what its driver printed, all attempts
    events.jsonl                   what happened, one line each
    report.html                    the report
Artifacts lie where the manifests say: a relative output.uri is relative to this folder.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from mora_jobs.api import KINDS
from mora_jobs.api.reports import timestamp
from mora_jobs.errors import UserError

Object = dict[str, Any]
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def key_of(thing: Mapping[str, Any]) -> str:
    """KIND/NAME of an object."""
    return f"{thing['kind']}/{thing['metadata']['name']}"


class Workdir:
    """Paths of a workdir, and the files that it consists of. Making one writes nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def __str__(self) -> str:
        return str(self.root)

    def status_file(self, key: str) -> Path:
        return self.root / "status" / f"{_stem(key)}.yaml"

    def job_file(self, key: str) -> Path:
        return self.root / "jobs" / f"{_stem(key)}.json"

    def log_file(self, key: str) -> Path:
        return self.root / "logs" / f"{_stem(key)}.log"

    @property
    def events_file(self) -> Path:
        return self.root / "events.jsonl"

    def objects(self) -> dict[str, Object]:
        """Every job of the workdir by KIND/NAME, as its status file has it. UserError for a file that is damaged."""
        found: dict[str, Object] = {}
        for path in sorted((self.root / "status").glob("*.yaml")):
            thing = _read(path)
            found[key_of(thing)] = thing
        return found

    def write_status(self, thing: Object) -> None:
        """Replace a status file; a reader sees the old one or the new one."""
        text = yaml.dump(thing, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=119)
        replace(self.status_file(key_of(thing)), text.encode())

    def write_job(self, key: str, resolved: str) -> Path:
        path = self.job_file(key)
        replace(path, resolved.encode())
        return path

    def add_event(self, time: datetime, key: str, reason: str, message: str, warning: bool = False) -> None:
        """Say that something happened to a job."""
        kind, name = key.split("/")
        event = {
            "time": timestamp(time),
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "kind": kind,
            "name": name,
            "message": message,
        }
        with self.events_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")

    def events(self) -> list[Object]:
        try:
            lines = self.events_file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        # A killed run may have left half a line at the end.
        return [json.loads(line) for line in lines if line.endswith("}")]

    def is_busy(self) -> bool:
        """Whether a `mora run` is at work here now."""
        try:
            with (self.root / ".lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Work here alone. The kernel takes the lock away with the process, however that ends."""
        for folder in ("status", "jobs", "logs"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                who = file.read(32).decode(errors="replace").strip() or "unknown"
                todo = "wait for it, stop it, or use another --workdir"
                raise UserError(str(self), f"another `mora run` (process {who}) is at work here", todo) from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
            file.flush()
            yield


def replace(path: Path, data: bytes) -> None:
    """Write a file in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


def _stem(key: str) -> str:
    kind, name = key.split("/")
    return f"{kind.lower()}-{name}"


def _read(path: Path) -> Object:
    try:
        thing = yaml.load(path.read_bytes(), Loader=_Loader)
        if thing["kind"] in KINDS and isinstance(thing["metadata"]["name"], str) and isinstance(thing["spec"], dict):
            return dict(thing)
        what = "is not the status of a job"
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        what = f"is damaged ({str(error).splitlines()[0]})"
    raise UserError(str(path), what, "restore it, or remove it to begin this job anew")
