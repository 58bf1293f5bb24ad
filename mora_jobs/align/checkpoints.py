"""Checkpoints in a store: files first, the marker last. What has no marker does not exist.

step-00000050/<files>   step-00000050/_complete.json   {step, config, files: {path: sha256}}
"""

import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mora_jobs.artifacts.document import read_json, write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError

log = logging.getLogger(__name__)

MARKER = "_complete.json"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint in the store."""

    name: str
    step: int
    files: Mapping[str, str]
    """sha256 by path."""


class Checkpoints:
    """The checkpoints of one training. Every worker uploads the files that it wrote; the first one sets the marker."""

    def __init__(self, store: Store, config: str, keep_last: int) -> None:
        """`config` is a digest of everything that decides the training: a checkpoint of another one is refused."""
        self.store, self.config, self.keep_last = store, config, keep_last

    def complete(self) -> list[Checkpoint]:
        """Those with a marker, oldest first. UserError when they belong to a training with other settings."""
        found = []
        for path in self.store.list():
            name, _, file = path.partition("/")
            if file == MARKER:
                document = read_json(self.store, path)
                if document["config"] != self.config:
                    raise UserError(
                        f"{self.store.uri}/{name}",
                        "is a checkpoint of a training with other settings",
                        "use another output.uri, or output.overwritePolicy: Overwrite",
                    )
                found.append(Checkpoint(name, document["step"], document["files"]))
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def save(self, folder: Path, step: int, gather: Callable[[dict[str, str]], list[dict[str, str]]]) -> None:
        """Upload `folder`, called by every worker; `gather` brings the digests of all workers together.

        Only the first worker gets the others' digests (they get []), and only when all files are up. It sets the marker
        and removes what is older than the last `keep_last`.
        """
        name = f"step-{step:08d}"
        if self.store.exists(f"{name}/{MARKER}"):
            return
        files = {}
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            path = file.relative_to(folder).as_posix()
            self.store.upload(file, f"{name}/{path}")
            with file.open("rb") as content:
                files[path] = hashlib.file_digest(content, "sha256").hexdigest()
        everybody = gather(files)
        if everybody:
            merged = {path: digest for part in everybody for path, digest in part.items()}
            write_json(self.store, f"{name}/{MARKER}", {"step": step, "config": self.config, "files": merged})
            self._prune()

    def fetch(self, folder: Path) -> tuple[Path, int] | None:
        """The newest checkpoint whose files are all there and unchanged, copied below `folder`, as (copy, step), or None."""
        for checkpoint in reversed(self.complete()):
            copy = folder / checkpoint.name
            if self._copy(checkpoint, copy):
                return copy, checkpoint.step
            shutil.rmtree(copy, ignore_errors=True)
            log.warning("%s/%s is damaged and left out", self.store.uri, checkpoint.name)
        return None

    def clear(self) -> None:
        """Remove all checkpoints: the training is finished."""
        for name in sorted({path.partition("/")[0] for path in self.store.list()}):
            self._remove(name)

    def _copy(self, checkpoint: Checkpoint, folder: Path) -> bool:
        for path, digest in checkpoint.files.items():
            try:
                source = self.store.local(f"{checkpoint.name}/{path}")
            except FileNotFoundError:
                return False
            with source.open("rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() != digest:
                    return False
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        return True

    def _prune(self) -> None:
        complete = self.complete()
        newest = complete[-1].step
        kept = {checkpoint.name for checkpoint in complete[-self.keep_last :]}
        names = {path.partition("/")[0] for path in self.store.list()}
        for name in sorted(names - kept):
            # What has no marker is the rest of a killed writer: older than the one that is now complete.
            if int(name.removeprefix("step-")) < newest:
                self._remove(name)

    def _remove(self, name: str) -> None:
        self.store.delete(f"{name}/{MARKER}")  # first: a half-removed checkpoint is none
        self.store.delete(name)
