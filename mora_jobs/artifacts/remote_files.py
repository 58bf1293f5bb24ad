"""Files on an object store (s3, gs, az, hf) or in memory, through fsspec.

Put-if-absent is the service's own condition: `If-None-Match: *` on S3 and Azure, `ifGenerationMatch=0` on Google Cloud; all
three are reached by fsspec's `pipe_file(mode="create")`. The libraries' own retries are switched off where that is possible:
one back-off, here, bounded by PATIENCE_SECONDS.
"""

import hashlib
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from tenacity import (
    Retrying,
    before_sleep_log,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    stop_all,
    wait_random_exponential,
)

from mora_jobs.artifacts.failures import CREDENTIALS, StoreUnavailable, translate
from mora_jobs.errors import UserError

T = TypeVar("T")
PATIENCE_SECONDS = 60.0
TRIES = 3  # at least so many, even if one of them hangs until its timeout
WINDOW = 64  # files fetched at once by read_all
# No listing caches: another process may write at any time.
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "use_listings_cache": False,
        "config_kwargs": {"retries": {"total_max_attempts": 1}, "read_timeout": 30, "connect_timeout": 10},
    },
    "gs": {"use_listings_cache": False},
    "az": {"use_listings_cache": False},
    "hf": {"use_listings_cache": False},
    "memory": {},
}
_memory_lock = threading.Lock()
_log = logging.getLogger(__name__)


class RemoteFiles:
    """Paths are relative to the URI and hold no `..`. Errors are those of `failures.translate`."""

    def __init__(self, uri: str, scheme: str, root: str) -> None:
        self.uri = uri
        self.scheme = scheme
        self.root = root.rstrip("/")

    def read(self, path: str) -> bytes:
        return self._run(path, lambda fs: fs.cat_file(self._full(path)))

    def read_all(self, paths: Iterable[str]) -> Iterator[bytes]:
        rest = iter(paths)
        while window := list(islice(rest, WINDOW)):
            full = [self._full(path) for path in window]
            found = self._run(window[0], lambda fs, full=full: fs.cat(full))
            found = found if isinstance(found, dict) else {full[0]: found}
            by_name = {name.strip("/"): data for name, data in found.items()}
            yield from (by_name[self._filesystem()._strip_protocol(name).strip("/")] for name in full)

    def write(self, path: str, data: bytes) -> None:
        self._writable()
        self._run(path, lambda fs: fs.pipe_file(self._full(path), data))

    def create(self, path: str, data: bytes) -> bool:
        self._writable()
        if self.scheme == "memory":
            with _memory_lock:  # MemoryFileSystem looks first and writes later
                return self._create(path, data)
        return self._create(path, data)

    def _create(self, path: str, data: bytes) -> bool:
        try:
            self._run(path, lambda fs: fs.pipe_file(self._full(path), data, mode="create"))
        except FileExistsError:
            return False
        return True

    def upload_file(self, local: Path, path: str) -> None:
        self._writable()
        self._run(path, lambda fs: fs.put_file(str(local), self._full(path)))

    def local(self, path: str) -> Path:
        """A copy under the user's cache folder, named by the content's versions: it is never stale."""
        found = self._run(path, lambda fs: _details(fs, self._full(path)))
        if not found:
            raise FileNotFoundError(f"{self.uri}/{path}")
        base = self._filesystem()._strip_protocol(self._full(path)).strip("/")
        versions = {name.strip("/")[len(base) :].lstrip("/"): _version(info) for name, info in found.items()}
        stamp = hashlib.sha256(repr((self.uri, path, sorted(versions.items()))).encode()).hexdigest()[:32]
        folder = cache_folder() / stamp
        final = folder / (base.rsplit("/", 1)[-1] or "root")
        if not folder.exists():
            hidden = folder.with_name(f"{stamp}.{uuid.uuid4().hex}")
            try:
                for name in versions:
                    target = hidden / final.name / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    source = f"{self._full(path)}/{name}".rstrip("/")
                    self._run(path, lambda fs, source=source, target=target: fs.get_file(source, str(target)))
                try:
                    hidden.rename(folder)
                except OSError:
                    if not folder.exists():  # else another process was faster, with the same content
                        raise
            except OSError as error:
                raise translate(str(hidden), error) from error
            finally:
                shutil.rmtree(hidden, ignore_errors=True)
        return final

    def exists(self, path: str) -> bool:
        return self._run(path, lambda fs: fs.isfile(self._full(path))) or bool(self.list(path))

    def list(self, prefix: str) -> list[str]:
        base = self._filesystem()._strip_protocol(self.root).strip("/")
        folder = f"{self.root}/{prefix}".rstrip("/")

        def find(fs: fsspec.AbstractFileSystem) -> list[str]:
            fs.invalidate_cache()
            return list(fs.find(folder))

        try:
            names = [name.strip("/") for name in self._run(prefix, find)]
        except FileNotFoundError:
            return []
        above = f"{base}/{prefix}".strip("/") + "/"
        return sorted(name[len(base) :].lstrip("/") for name in names if name.startswith(above))

    def delete(self, path: str) -> None:
        self._writable()
        names = self.list(path)
        if self._run(path, lambda fs: fs.isfile(self._full(path))):
            names.append(path)
        for name in names:
            try:
                self._run(name, lambda fs, name=name: fs.rm_file(self._full(name)))
            except FileNotFoundError:
                continue  # another process removed it first: the wish is fulfilled

    def sweep(self) -> None:
        """Nothing to do: an object store shows no unfinished uploads."""

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}".rstrip("/")

    def _filesystem(self) -> fsspec.AbstractFileSystem:
        try:
            # fsspec keeps one instance for equal arguments, and a new one after a fork.
            fs = fsspec.filesystem(self.scheme, **OPTIONS[self.scheme])
        except ImportError as error:
            raise UserError(self.uri, f"this installation cannot read {self.scheme}://", str(error)) from error
        except ValueError as error:  # adlfs without an account
            raise UserError(self.uri, str(error), CREDENTIALS.get(self.scheme, "")) from error
        if self.scheme == "s3":
            fs.retries = 1
        return fs

    def _run(self, path: str, act: Callable[[fsspec.AbstractFileSystem], T]) -> T:
        def once() -> T:
            try:
                return act(self._filesystem())
            except Exception as error:
                raise translate(f"{self.uri}/{path}".rstrip("/"), error) from error

        for attempt in Retrying(
            retry=retry_if_exception_type(StoreUnavailable),
            stop=stop_all(stop_after_delay(PATIENCE_SECONDS), stop_after_attempt(TRIES)),
            wait=wait_random_exponential(multiplier=0.2, max=10),
            before_sleep=before_sleep_log(_log, logging.WARNING),
            reraise=True,
        ):
            with attempt:
                return once()
        raise AssertionError("unreachable")

    def _writable(self) -> None:
        if self.scheme == "hf":
            raise UserError(self.uri, "hf:// is for inputs only", "write to file://, s3://, gs:// or az://")


def cache_folder() -> Path:
    """Where local copies live: $MORA_CACHE, or $XDG_CACHE_HOME/mora, or ~/.cache/mora."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MORA_CACHE") or home / "mora") / "store"


def _details(fs: fsspec.AbstractFileSystem, path: str) -> dict[str, dict[str, Any]]:
    """What the service says about a file, or about every file of a folder."""
    fs.invalidate_cache()
    return {path: fs.info(path)} if fs.isfile(path) else dict(fs.find(path, detail=True))


def _version(info: dict[str, Any]) -> str:
    marks = (
        "ETag",
        "etag",
        "md5Hash",
        "content_md5",
        "generation",
        "LastModified",
        "last_modified",
        "created",
        "blob_id",
    )
    return repr([info.get("size")] + [str(info[mark]) for mark in marks if info.get(mark)])
