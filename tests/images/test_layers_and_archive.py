"""Layers and archives of hack/images/build, read back with nothing of ours."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from layers import Layer, mark_removals
from without import without

ROOT = Path(__file__).parents[2]
LOCK = "a==1 \\\n    --hash=sha256:1 \\\n    --hash=sha256:2\nb[x]==2 ; python_version < '4' \\\n    --hash=sha256:3\nc==3 \\\n    --hash=sha256:4\n"


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    if not shutil.which("zstd"):
        pytest.skip("needs zstd, as hack/images/build does")
    source = tmp_path / "venv"
    (source / "bin").mkdir(parents=True)
    (source / "bin" / "tool").write_text("#!/bin/sh\n")
    (source / "bin" / "tool").chmod(0o755)
    (source / "bin" / "python").symlink_to("./tool")
    made = Layer(tmp_path / "layer.tar.zst")
    made.write(source, place="/opt/mora/")
    return made


def unpacked(layer: Layer) -> bytes:
    return subprocess.run(["zstd", "-dcq", layer.file], capture_output=True, check=True).stdout


def test_a_layer_has_its_folder_in_its_place_and_leaves_links_as_they_are(layer: Layer) -> None:
    with tarfile.open(fileobj=io.BytesIO(unpacked(layer))) as tar:
        members = {member.name: member for member in tar}
    assert set(members) == {"opt/mora", "opt/mora/bin", "opt/mora/bin/tool", "opt/mora/bin/python"}
    assert members["opt/mora/bin/python"].linkname == "./tool"
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
    assert members["opt/mora/bin/tool"].mode == 0o755


def test_the_note_beside_a_layer_is_about_the_tar_inside(layer: Layer) -> None:
    inside = unpacked(layer)
    note = json.loads(layer.note.read_text())
    assert note == {"diff_id": f"sha256:{hashlib.sha256(inside).hexdigest()}", "unpacked": len(inside)}
    assert layer.sizes() == (layer.file.stat().st_size, len(inside))


def test_an_archive_is_an_oci_layout_in_which_every_digest_and_size_is_right(layer: Layer, tmp_path: Path) -> None:
    plain = tmp_path / "plain.tar"
    with tarfile.open(plain, "w") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    config = {"User": "65532:65532", "Labels": {"a": "b"}}
    command = [sys.executable, ROOT / "hack/images/archive.py", "localhost/x:1", json.dumps(config), plain, layer.file]
    done = subprocess.run(command, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert json.loads(files.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    (top,) = json.loads(files.pop("index.json"))["manifests"]
    for name, data in files.items():
        assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"

    def blob(descriptor: dict[str, Any]) -> Any:
        data = files[descriptor["digest"].replace("sha256:", "blobs/sha256/")]
        assert descriptor["size"] == len(data)
        return data

    manifest = json.loads(blob(top))
    image = json.loads(blob(manifest["config"]))
    assert [blob(item)[:4] == b"\x28\xb5\x2f\xfd" for item in manifest["layers"]] == [False, True]
    assert [item["mediaType"].rpartition(".")[2] for item in manifest["layers"]] == ["tar", "tar+zstd"]
    inside = [plain.read_bytes(), unpacked(layer)]
    assert image["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in inside]
    assert image["config"] == config
    assert top["annotations"]["io.containerd.image.name"] == "localhost/x:1"


def test_what_was_removed_on_an_overlay_is_marked_as_layers_mark_it(tmp_path: Path) -> None:
    folder = tmp_path / "upper" / "etc"
    folder.mkdir(parents=True)
    (folder / "kept").touch()
    try:
        subprocess.run(["mknod", folder / "gone", "c", "0", "0"], check=True, capture_output=True)
    except subprocess.CalledProcessError:
        pytest.skip("needs the right to make device nodes (root)")
    mark_removals(tmp_path / "upper")
    assert sorted(path.name for path in folder.iterdir()) == [".wh.gone", "kept"]
    assert (folder / ".wh.gone").read_bytes() == b""


def test_a_lock_file_without_some_distributions_keeps_all_else_with_hashes() -> None:
    assert without(LOCK, ["B"]) == "".join(LOCK.splitlines(keepends=True)[:3] + LOCK.splitlines(keepends=True)[5:])
    assert without(LOCK, []) == LOCK


def test_a_distribution_that_the_lock_file_does_not_have_is_told() -> None:
    with pytest.raises(SystemExit, match="not in the lock file: d"):
        without(LOCK, ["a", "d"])
