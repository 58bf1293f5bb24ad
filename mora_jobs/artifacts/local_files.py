"""Files on a POSIX filesystem, with the guarantees an object store gives: a file is there as a whole or not at all.

A file is written under a hidden name, flushed to the disk, and only then gets its name: by rename (replace) or by a hard
link (put-if-absent: link(2) fails when the name is taken, on NFS too). The folder is flushed as well, because a name that
is not on the disk is lost with the machine's power.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from mora_jobs.artifacts.failures import translate
from mora_jobs.errors import UserError

HIDDEN = ".mora-tmp-"
STALE_SECONDS = 3600.0
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV}
RENAME_NOREPLACE = 1
AT_FDCWD = -100
T = TypeVar("T")


class LocalFiles:
    """Paths are relative to `root` and hold no `..`. Errors are those of `failures.translate`."""

    def __init__(self, uri: str, root: Path) -> None:
        self.uri = uri
        self.root = root

    def read(self, path: str) -> bytes:
        return self._run(path, (self.root / path).read_bytes)

    def read_all(self, paths: Iterable[str]) -> Iterator[bytes]:
        return (self.read(path) for path in paths)

    def write(self, path: str, data: bytes) -> None:
        self._run(path, lambda: self._put(path, lambda file: file.write(data), os.replace), writing=True)

    def create(self, path: str, data: bytes) -> bool:
        # The cheap test first: most losers need not write anything.
        if (self.root / path).exists():
            return False
        try:
            self._run(path, lambda: self._put(path, lambda file: file.write(data), link_or_fail), writing=True)
        except FileExistsError:
            return False
        return True

    def upload_file(self, local: Path, path: str) -> None:
        with local.open("rb") as source:

            def copy(file: BinaryIO) -> None:
                shutil.copyfileobj(source, file, 1 << 20)

            self._run(path, lambda: self._put(path, copy, os.replace), writing=True)

    def local(self, path: str) -> Path:
        if not self.exists(path):
            raise FileNotFoundError(f"{self.uri}/{path}")
        return self.root / path

    def exists(self, path: str) -> bool:
        return (self.root / path).is_file() or any(True for _ in self._walk(path))

    def list(self, prefix: str) -> list[str]:
        return self._run(prefix, lambda: sorted(self._walk(prefix)))

    def delete(self, path: str) -> None:
        target = self.root / path

        def remove() -> None:
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

        with contextlib.suppress(FileNotFoundError):  # another process removed it first: the wish is fulfilled
            self._run(path, remove)

    def sweep(self) -> None:
        """Remove hidden files that a killed writer left behind (older than an hour: no write takes that long)."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                hidden = Path(folder, name)
                try:
                    if name.startswith(HIDDEN) and time.time() - hidden.stat().st_mtime > STALE_SECONDS:
                        hidden.unlink()
                except FileNotFoundError:
                    continue

    def _walk(self, prefix: str) -> Iterator[str]:
        for folder, _, names in os.walk(self.root / prefix):
            yield from (
                Path(folder, name).relative_to(self.root).as_posix() for name in names if not name.startswith(HIDDEN)
            )

    def _put(self, path: str, fill: Callable[[BinaryIO], object], name_it: Callable[[Path, Path], None]) -> None:
        final = self.root / path
        make_folders(final.parent)
        hidden = final.parent / f"{HIDDEN}{uuid.uuid4().hex}"
        try:
            with hidden.open("xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            name_it(hidden, final)
        finally:
            hidden.unlink(missing_ok=True)
        flush_folder(final.parent)

    def _run(self, path: str, act: Callable[[], T], writing: bool = False) -> T:
        where = f"{self.uri}/{path}".rstrip("/")
        try:
            return act()
        except (IsADirectoryError, NotADirectoryError) as error:
            if not writing:  # an object store knows no folders: there is no such file
                raise FileNotFoundError(where) from error
            raise translate(where, error) from error
        except FileNotFoundError as error:
            if writing:  # /proc and the like: folders cannot be made there
                raise UserError(where, "cannot be written: folders cannot be made there") from error
            raise FileNotFoundError(where) from error
        except OSError as error:
            raise translate(where, error) from error


def link_or_fail(hidden: Path, final: Path) -> None:
    """Give `hidden` the name `final` unless it is taken (FileExistsError), in one step."""
    try:
        os.link(hidden, final)
    except FileExistsError:
        # NFS repeats a request whose answer was lost; the second try then meets the success of the first.
        if not os.path.samefile(hidden, final):
            raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        _rename_or_fail(hidden, final)


def _rename_or_fail(hidden: Path, final: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    rename = getattr(libc, "renameat2", None)
    code = errno.ENOSYS
    if rename is not None:
        if rename(AT_FDCWD, os.fsencode(hidden), AT_FDCWD, os.fsencode(final), RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
    if code == errno.EEXIST:
        raise FileExistsError(str(final))
    raise UserError(
        str(final.parent),
        f"this filesystem has neither hard links nor an exclusive rename ({os.strerror(code)})",
        "use another volume, or an s3://, gs:// or az:// URI",
    )


def make_folders(folder: Path) -> None:
    """Like mkdir -p, and every new folder's name is flushed to the disk."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():  # else another process was faster
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
    flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some FUSE filesystems cannot flush a folder
            raise
    finally:
        os.close(descriptor)
