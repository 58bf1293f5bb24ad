"""A full disk: one clear line, what was committed is kept, nothing half-written, and the job goes on when there is space."""

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from mora_jobs.artifacts import local_files
from mora_jobs.artifacts.failures import DiskFull
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table

SCHEMA = pa.schema([("id", pa.string()), ("noise", pa.binary())])
PAGE = 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of its own with 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"this machine lets nobody mount a tmpfs: {mount.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def row(key: str, size: int = 100) -> dict[str, str | bytes]:
    noise = b"".join(f"{key}{number * 2654435761 % 2**32}".encode() for number in range(size // 8))
    return {"id": key, "noise": noise[:size]}


def check_kept(store: Store, folder: Path, keys: list[str], error: DiskFull) -> None:
    assert f"{len(keys)} rows in {len(keys)} parts are kept" in str(error)
    assert "free space" in str(error)
    assert "\n" not in str(error)
    again = Table(store, "t", SCHEMA)
    assert [each["id"] for each in again.rows()] == keys
    assert set(store.list("t/parts")) == {f"t/{part}" for part in again._manifest.parts}
    assert not list(folder.rglob(f"{local_files.HIDDEN}*"))


@pytest.mark.parametrize("free_pages", [0, 1, 2, 3, 4])
def test_a_full_disk_keeps_the_work(small_disk: Path, free_pages: int) -> None:
    store = Store(f"file://{small_disk}/out")
    table = Table(store, "t", SCHEMA)
    table.append([row("first")])
    filler = small_disk / "filler"
    fill(filler, free_pages)
    keys = ["first"]
    with pytest.raises(DiskFull, match="no space left") as error:  # noqa: PT012
        for number in range(100):
            table.append([row(f"{number}")])
            keys.append(f"{number}")
    check_kept(store, small_disk, keys, error.value)
    filler.unlink()
    table.append([row("after")])
    assert [each["id"] for each in Table(store, "t", SCHEMA).rows()] == [*keys, "after"]


def fill(path: Path, leave_pages: int) -> None:
    """Take all pages of the filesystem but a few."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            pass
        file.truncate((file.tell() // PAGE - leave_pages) * PAGE)


def test_a_file_size_limit_is_a_full_disk_too(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/out")
    table = Table(store, "t", SCHEMA)
    table.append([row("first")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(DiskFull, match="no space left") as error:
            table.append([row("large", 1 << 18)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    check_kept(store, tmp_path, ["first"], error.value)
    table.append([row("large", 1 << 18)])
    assert table.committed() == {"first", "large"}
