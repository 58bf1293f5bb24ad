"""Layers of an image: a compressed tar, and beside it a .json with what is inside."""

import hashlib
import json
import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layer:
    file: Path

    @property
    def note(self) -> Path:
        return self.file.with_name(f"{self.file.name}.json")

    def exists(self) -> bool:
        return self.note.exists()  # it is written last

    def sizes(self) -> tuple[int, int]:
        """Bytes of the file, and of the tar inside."""
        return self.file.stat().st_size, json.loads(self.note.read_text())["unpacked"]

    def write(self, source: Path, place: str = "", excluded: tuple[str, ...] = ()) -> None:
        """Pack the folder `source` as the folder `place` of the image; everything belongs to root unless it is a layer of its own."""
        # Flag S would also rename what symbolic links point to.
        moved = [f"--transform=flags=rSh;s#^\\.#{place.strip('/')}#"] if place.strip("/") else []
        owner = ["--owner=0", "--group=0"] if place else []
        command = ["tar", "-C", str(source), "--sort=name", "--numeric-owner", *owner, *moved]
        packed = subprocess.Popen(
            [*command, *(f"--exclude={name}" for name in excluded), "-cf", "-", "."], stdout=subprocess.PIPE
        )
        part = self.file.with_suffix(".part")
        digest, size = hashlib.sha256(), 0
        with part.open("wb") as file:
            zstd = subprocess.Popen(["zstd", "-1", "-T0", "-q"], stdin=subprocess.PIPE, stdout=file)
            assert packed.stdout is not None
            assert zstd.stdin is not None
            while block := packed.stdout.read(1 << 20):
                digest.update(block)
                size += len(block)
                zstd.stdin.write(block)
            zstd.stdin.close()
            if packed.wait() or zstd.wait():
                raise SystemExit(f"could not pack {source}")
        part.rename(self.file)
        self.note.write_text(json.dumps({"diff_id": f"sha256:{digest.hexdigest()}", "unpacked": size}))


def mark_removals(upper: Path) -> None:
    """Overlay's marks of what was removed (a device 0,0; an attribute) become those of OCI layers."""
    for folder, _, files in os.walk(upper):
        if "trusted.overlay.opaque" in os.listxattr(folder):
            (Path(folder) / ".wh..wh..opq").touch()
        for name in files:
            path = Path(folder) / name
            status = path.lstat()
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                path.unlink()
                (path.parent / f".wh.{name}").touch()
