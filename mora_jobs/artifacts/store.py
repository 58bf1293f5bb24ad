"""A store: one root URI, and files below it by relative path, alike on every filesystem.

store = Store("s3://bucket/runs/helpful")
store.write("status.json", b"{}")            # atomic: the old content or the new one, never a mixture
store.create("manifest/00000000.json", b"")  # put-if-absent: of all callers in the world one gets True
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from mora_jobs.artifacts.local_files import LocalFiles
from mora_jobs.artifacts.remote_files import RemoteFiles
from mora_jobs.errors import UserError

SCHEMES = ("file", "s3", "gs", "az", "hf", "memory")


class Store:
    """Files below `uri` (file:// with an absolute path, s3://, gs://, az://, memory://; hf:// to read).

    Raises UserError for what the user can put right (bad URI, no such bucket, denied, disk full) and StoreUnavailable
    (mora_jobs.artifacts.failures) when a remote store did not answer in about a minute. Nothing is contacted before
    the first operation. A store can be pickled.
    """

    def __init__(self, uri: str) -> None:
        scheme, mark, rest = uri.partition("://")
        if not mark or scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES if name != "memory")
            raise UserError(uri or "(empty URI)", "is not a URI this version can open", f"use one of {known}")
        if ".." in rest.split("/"):
            raise UserError(uri, "a URI must not hold '..'")
        self.uri = uri.rstrip("/") if rest.strip("/") else f"{scheme}:///"
        if scheme == "file":
            if not rest.startswith("/"):
                raise UserError(uri, "a file:// URI needs an absolute path here", f"write file:///{rest}")
            self._files: LocalFiles | RemoteFiles = LocalFiles(self.uri, Path(rest))
        else:
            if not rest.partition("/")[0]:
                raise UserError(uri, "the bucket is missing", f"write {scheme}://BUCKET/FOLDER")
            self._files = RemoteFiles(self.uri, scheme, rest)

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self.uri,)

    def child(self, name: str) -> "Store":
        """The store whose root is the folder `name` of this one."""
        return Store(f"{self.uri.rstrip('/')}/{_checked(name)}")

    def read(self, path: str) -> bytes:
        """The whole file; FileNotFoundError when it is absent (or a folder)."""
        return self._files.read(_checked(path))

    def read_all(self, paths: Iterable[str]) -> Iterator[bytes]:
        """The files one after the other, in order, fetched a few at a time where that is faster."""
        return self._files.read_all(map(_checked, paths))

    def write(self, path: str, data: bytes) -> None:
        """Atomic replace: a reader, also one after a crash, sees the old content or the new one."""
        self._files.write(_checked(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Put if absent, in one step: True for the one who made the file, False when it is there with any content.

        False can also mean that our own first try arrived and its answer was lost: where that matters, put something
        unique into `data` and compare.
        """
        return self._files.create(_checked(path), data)

    def exists(self, path: str) -> bool:
        """Whether there is such a file, or a folder with a file in it."""
        return self._files.exists(_checked(path))

    def list(self, prefix: str = "") -> list[str]:
        """All files below the folder `prefix`, sorted, as paths relative to the root; [] when there is no such folder."""
        return self._files.list(_checked(prefix) if prefix else "")

    def delete(self, path: str) -> None:
        """Remove a file or a folder with all below it; no error when it is absent."""
        self._files.delete(_checked(path))

    def local(self, path: str) -> Path:
        """A file or folder as a local path: itself for file://, else a copy in the cache, made when the content is new."""
        return self._files.local(_checked(path))

    def upload(self, local: Path, path: str) -> None:
        """Copy a local file, or a folder file by file in sorted order, to `path`. Only single files are atomic."""
        if local.is_dir():
            for file in sorted(each for each in local.rglob("*") if each.is_file()):
                self._files.upload_file(file, _checked(f"{path}/{file.relative_to(local).as_posix()}"))
        else:
            self._files.upload_file(local, _checked(path))

    def sweep(self) -> None:
        """Remove hidden files that writers killed more than an hour ago left behind."""
        self._files.sweep()


def _checked(path: str) -> str:
    path = path.rstrip("/")
    if not path or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"not a relative path: {path!r}")
    return path
