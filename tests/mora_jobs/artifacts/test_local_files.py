"""What only a POSIX filesystem needs: no torn files, no hidden leftovers, filesystems without hard links."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mora_jobs.artifacts import local_files
from mora_jobs.artifacts.local_files import HIDDEN
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/out")


def no_links(*_: Any) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def test_a_reader_never_sees_a_torn_file(folder: Store) -> None:
    contents = [bytes([number]) * 200_000 for number in range(8)]
    folder.write("x", contents[0])

    def write_and_read(content: bytes) -> bool:
        folder.write("x", content)
        return folder.read("x") in contents

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(write_and_read, contents * 4))


def test_the_file_is_on_the_disk_before_it_has_its_name(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("first", b"")
    done: list[str] = []
    for name in ("fsync", "replace", "link"):
        act = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, act=act, name=name: (done.append(name), act(*args)))
    folder.write("x", b"1")
    folder.create("y", b"1")
    assert done == ["fsync", "replace", "fsync", "fsync", "link", "fsync"]


@pytest.mark.parametrize("operation", ["write", "create"])
@pytest.mark.parametrize("failing", ["fsync", "replace", "link"])
def test_what_fails_leaves_nothing(
    folder: Store, monkeypatch: pytest.MonkeyPatch, operation: str, failing: str
) -> None:
    if (operation, failing) in {("write", "link"), ("create", "replace")}:
        failing = "fsync"
    folder.write("other", b"")

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(UserError, match="no space left"):
        getattr(folder, operation)("x", b"1")
    monkeypatch.undo()
    assert os.listdir(folder.uri.removeprefix("file://")) == ["other"]


def test_without_hard_links_an_exclusive_rename_does_it(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda me: folder.create("x", b"%d" % me), range(8)))
    assert won.count(True) == 1
    assert folder.read("x") == b"%d" % won.index(True)
    assert os.listdir(folder.uri.removeprefix("file://")) == ["x"]


def test_without_both_the_user_is_told(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(local_files.ctypes, "CDLL", lambda *_, **__: object())
    with pytest.raises(UserError, match="neither hard links nor an exclusive rename"):
        folder.create("x", b"1")
    assert folder.list() == []


def test_a_link_whose_first_answer_was_lost_is_ours(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def link_twice(hidden: Path, final: Path) -> None:
        link(hidden, final)
        link(hidden, final)  # what an NFS client does when the answer to the first does not arrive

    monkeypatch.setattr(os, "link", link_twice)
    assert folder.create("x", b"1")
    assert not folder.create("x", b"1")


def test_hidden_files_are_not_listed_and_old_ones_are_swept(folder: Store) -> None:
    folder.write("a/x", b"1")
    root = Path(folder.uri.removeprefix("file://"))
    old, young = root / "a" / f"{HIDDEN}old", root / "a" / f"{HIDDEN}young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert folder.list() == ["a/x"]
    folder.sweep()
    assert sorted(os.listdir(root / "a")) == [young.name, "x"]
    young.unlink()
    (root / "b").mkdir()
    (root / "b" / f"{HIDDEN}only").write_bytes(b"")
    assert not folder.exists("b")


def test_a_file_in_the_way_is_no_success(folder: Store) -> None:
    folder.write("file", b"")
    for act in (folder.write, folder.create):
        with pytest.raises(UserError, match="a part of the path is a file"):
            act("file/below", b"")


def test_uploading_what_is_not_there_fails(folder: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        folder.upload(tmp_path / "absent", "x")
