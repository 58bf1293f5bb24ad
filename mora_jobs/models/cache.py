"""The cache folder of this machine: things that are made once and found again, also after a crash and by neighbours."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


def cache_folder() -> Path:
    """$MORA_CACHE, else ~/.cache/mora."""
    return Path(os.environ.get("MORA_CACHE") or Path.home() / ".cache" / "mora").absolute()


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one process of this machine at a time is inside for `name`. The lock is gone when its holder dies."""
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        yield


def made_once(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder `kind`/`key` of the cache, filled by `make(empty folder)` the first time.

    It appears by a rename when it is whole, so one that is there needs no check. What a killed maker left is removed
    by the next one.
    """
    folder = cache_folder() / kind / key
    if folder.is_dir():
        return folder
    with locked(f"{kind}-{key}"):
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        for remains in folder.parent.glob(f".{key}.*"):
            shutil.rmtree(remains, ignore_errors=True)
        building = folder.parent / f".{key}.{uuid.uuid4().hex[:8]}"
        building.mkdir()
        try:
            make(building)
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return folder
