"""Every store behaves alike, whatever the filesystem."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError


def test_written_files_are_read_back(store: Store) -> None:
    store.write("a/b.json", b"one")
    store.write("a/b.json", b"two")
    assert store.read("a/b.json") == b"two"


@pytest.mark.parametrize("path", ["absent", "folder/absent", "folder", "folder/file/below"])
def test_what_is_not_a_file_is_not_found(store: Store, path: str) -> None:
    store.write("folder/file", b"x")
    with pytest.raises(FileNotFoundError):
        store.read(path)


def test_create_puts_only_if_absent(store: Store) -> None:
    assert store.create("deep/er/one", b"first")
    assert not store.create("deep/er/one", b"second")
    assert not store.create("deep/er/one", b"first")
    assert store.read("deep/er/one") == b"first"
    store.delete("deep/er/one")
    assert store.create("deep/er/one", b"third")


def test_create_makes_an_empty_file_too(store: Store) -> None:
    assert store.create("empty", b"")
    assert not store.create("empty", b"")
    assert store.exists("empty")
    assert store.read("empty") == b""


def test_of_many_creators_one_wins(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(10):
            path = f"race/{number}"
            won = list(pool.map(lambda me, path=path: store.create(path, b"%d" % me), range(8)))
            assert won.count(True) == 1
            assert store.read(path) == b"%d" % won.index(True)


def test_exists_for_files_and_filled_folders(store: Store) -> None:
    assert not store.exists("a")
    store.write("a/b/c", b"x")
    assert [store.exists(path) for path in ("a", "a/b", "a/b/c", "a/b/c/d", "a/x", "b")] == [True] * 3 + [False] * 3
    store.delete("a/b/c")
    assert [store.exists(path) for path in ("a", "a/b", "a/b/c")] == [False] * 3


def test_list_is_sorted_deep_and_relative(store: Store) -> None:
    assert store.list() == []
    assert store.list("nothing") == []
    for path in ("b", "a/2", "a/1", "a/x/y", "ab/3"):
        store.write(path, b"")
    assert store.list() == ["a/1", "a/2", "a/x/y", "ab/3", "b"]
    assert store.list("a") == store.list("a/") == ["a/1", "a/2", "a/x/y"]
    assert store.list("b") == []
    assert store.child("a").list() == ["1", "2", "x/y"]


def test_many_files_are_listed_and_read(store: Store) -> None:
    paths = [f"many/{number:04d}" for number in range(150)]
    for path in paths:
        store.write(path, path.encode())
    assert store.list("many") == paths
    assert list(store.read_all(reversed(paths))) == [path.encode() for path in reversed(paths)]
    assert list(store.read_all(["many/0007"])) == [b"many/0007"]
    assert list(store.read_all([])) == []
    with pytest.raises(FileNotFoundError):
        list(store.read_all([*paths, "many/absent"]))


def test_delete_files_and_folders(store: Store) -> None:
    for path in ("a/1", "a/x/2", "ab"):
        store.write(path, b"x")
    store.delete("absent")
    store.delete("a/1")
    assert store.list() == ["a/x/2", "ab"]
    store.delete("a")
    assert store.list() == ["ab"]


@pytest.mark.parametrize(
    "name", ["with space", "größe-数", "a+b=c&d", "50%", "100%25", "q?x", "h#h", "[br*ck]", "a:b@c", "~", "x" * 200]
)
def test_any_name_is_a_name(store: Store, name: str) -> None:
    store.write(f"dir/{name}/{name}", b"x")
    assert store.read(f"dir/{name}/{name}") == b"x"
    assert store.exists(f"dir/{name}/{name}")
    assert store.list() == [f"dir/{name}/{name}"]
    assert not store.create(f"dir/{name}/{name}", b"y")
    store.delete(f"dir/{name}")
    assert store.list() == []


def test_folders_go_up_and_come_back(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORA_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "model"
    (source / "sub").mkdir(parents=True)
    (source / "config.json").write_text("{}")
    (source / "sub" / "weights").write_bytes(bytes(range(256)) * 1000)
    store.upload(source, "models/m")
    assert store.list() == ["models/m/config.json", "models/m/sub/weights"]
    copy = store.local("models/m")
    assert (copy / "sub" / "weights").read_bytes() == (source / "sub" / "weights").read_bytes()
    assert (copy / "config.json").read_text() == "{}"
    assert copy.name == "m"
    assert store.local("models/m") == copy
    store.upload(source / "config.json", "other.json")
    assert store.local("other.json").read_text() == "{}"
    assert store.local("other.json").name == "other.json"
    with pytest.raises(FileNotFoundError):
        store.local("absent")


def test_a_local_copy_is_never_stale(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORA_CACHE", str(tmp_path / "cache"))
    store.write("m/one", b"old")
    assert (store.local("m") / "one").read_bytes() == b"old"
    store.write("m/one", b"new")
    assert (store.local("m") / "one").read_bytes() == b"new"


def test_a_store_travels_to_another_process(store: Store) -> None:
    store.write("x", b"1")
    assert pickle.loads(pickle.dumps(store)).read("x") == b"1"


@pytest.mark.parametrize("path", ["", "/abs", "a//b", "../up", "a/../b", "./a", "."])
def test_paths_outside_the_root_are_refused(store: Store, path: str) -> None:
    for act in (store.read, store.exists, store.delete, store.child, lambda p: store.write(p, b"")):
        with pytest.raises(ValueError, match="not a relative path"):
            act(path)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "not a URI"),
        ("/plain/path", "not a URI"),
        ("ftp://host/x", "use one of file://, s3://"),
        ("pvc://claim/x", "not a URI"),
        ("file://relative/x", "write file:///relative/x"),
        ("file:///a/../b", "must not hold '..'"),
        ("s3://", "bucket is missing"),
        ("s3:///x", "bucket is missing"),
        ("gs://", "write gs://BUCKET/FOLDER"),
    ],
)
def test_bad_uris_get_one_clear_line(uri: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        Store(uri)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_the_hub_is_for_reading() -> None:
    with pytest.raises(UserError, match="for inputs only"):
        Store("hf://datasets/owner/name").write("x", b"")
    with pytest.raises(UserError, match="for inputs only"):
        Store("hf://datasets/owner/name").create("x", b"")
