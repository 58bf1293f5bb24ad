"""Write an OCI image archive to standard output: archive.py NAME[:TAG] CONFIG_JSON LAYER...

A layer is a plain tar, or a .tar.zst beside which NAME.tar.zst.json says the `diff_id`: the digest of the tar inside.
containerd (`ctr images import`), kind (`kind load image-archive`), skopeo and Docker read such archives.
"""

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

IMAGE = "application/vnd.oci.image"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def describe(layer: Path) -> tuple[dict[str, Any], str]:
    """The layer's descriptor, and the digest of what is inside."""
    digest = digest_of(layer)
    compressed = layer.suffix == ".zst"
    inside = json.loads(layer.with_name(f"{layer.name}.json").read_text())["diff_id"] if compressed else digest
    kind = f"{IMAGE}.layer.v1.tar{'+zstd' if compressed else ''}"
    return {"mediaType": kind, "digest": digest, "size": layer.stat().st_size}, inside


def write(name: str, config: dict[str, Any], layers: list[Path], machine: str, out: Any) -> None:
    described = [describe(layer) for layer in layers]
    image = {
        "architecture": ARCHITECTURES[machine],
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [inside for _, inside in described]},
    }
    blobs: dict[str, bytes] = {}

    def blob(kind: str, content: Any) -> dict[str, Any]:
        data = json.dumps(content).encode()
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    manifest = blob(
        f"{IMAGE}.manifest.v1+json",
        {
            "schemaVersion": 2,
            "mediaType": f"{IMAGE}.manifest.v1+json",
            "config": blob(f"{IMAGE}.config.v1+json", image),
            "layers": [descriptor for descriptor, _ in described],
        },
    )
    # containerd takes the name from the first annotation, skopeo from the second.
    manifest["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = {"schemaVersion": 2, "mediaType": f"{IMAGE}.index.v1+json", "manifests": [manifest]}
    with tarfile.open(fileobj=out, mode="w|") as archive:
        for path, data in [
            ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
            ("index.json", json.dumps(index).encode()),
            *((f"blobs/sha256/{digest}", data) for digest, data in blobs.items()),
        ]:
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for (descriptor, _), layer in zip(described, layers, strict=True):
            member = tarfile.TarInfo(f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}")
            member.size = descriptor["size"]
            with layer.open("rb") as file:
                archive.addfile(member, file)


if __name__ == "__main__":
    import platform

    write(
        sys.argv[1],
        json.loads(sys.argv[2]),
        [Path(layer) for layer in sys.argv[3:]],
        platform.machine(),
        sys.stdout.buffer,
    )
