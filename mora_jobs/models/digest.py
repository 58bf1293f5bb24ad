"""What a model is, byte by byte: a digest over its files, computed once per file and remembered."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mora_jobs.models.cache import cache_folder

# Weights in other formats, checkpoints of a training run and prose do not change what the model computes.
PROSE = {".md", ".rst", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".mp4", ".pdf", ".ipynb"}
OTHER_WEIGHTS = {".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".ot", ".tflite", ".gguf", ".ckpt"}
TOKENIZER = {"vocab.json", "vocab.txt", "merges.txt", "special_tokens_map.json", "added_tokens.json", "spm.model"}


def model_files(folder: Path) -> list[Path]:
    """The files below `folder` that make the model, sorted: without hidden ones, prose, and second copies of the weights."""
    files = [
        each
        for each in sorted(folder.rglob("*"))
        if each.is_file()
        and not any(part.startswith(".") for part in each.relative_to(folder).parts)
        and each.suffix.lower() not in PROSE
    ]
    if any(each.suffix == ".safetensors" for each in files):
        files = [each for each in files if each.suffix.lower() not in OTHER_WEIGHTS]
    return files


def tokenizer_files(folder: Path) -> list[Path]:
    """The files at the top of `folder` that make the tokenizer and its chat template, sorted."""
    return [
        each
        for each in sorted(folder.iterdir())
        if each.is_file()
        and (each.name in TOKENIZER or each.suffix in {".model", ".tiktoken", ".jinja"} or "token" in each.name)
        and each.suffix.lower() not in PROSE | {".safetensors"}
    ]


def digest_files(folder: Path, files: Iterable[Path]) -> str:
    """ "sha256:…" over relative names and contents, in the order given."""
    files = list(files)
    total = hashlib.sha256(b"mora files 1\n")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for file, digest in zip(files, threads.map(digest_file, files), strict=True):
            total.update(f"{file.relative_to(folder).as_posix()} {digest}\n".encode("utf-8", "surrogateescape"))
    return f"sha256:{total.hexdigest()}"


def digest_text(text: str) -> str:
    """ "sha256:…" of a text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def digest_file(file: Path) -> str:
    """sha256 of a file in hex; remembered for as long as its size, times and inode stay."""
    real = file.resolve()
    stat = real.stat()
    seen = {"size": stat.st_size, "mtime": stat.st_mtime_ns, "ctime": stat.st_ctime_ns, "inode": stat.st_ino}
    note = cache_folder() / "digests" / f"{hashlib.sha256(os.fsencode(real)).hexdigest()}.json"
    try:
        known = json.loads(note.read_text())
        if {name: known.get(name) for name in seen} == seen:
            return str(known["sha256"])
    except (OSError, ValueError):
        pass  # not seen yet, or a damaged note: the file decides
    with real.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    note.parent.mkdir(parents=True, exist_ok=True)
    fresh = note.with_suffix(f".{uuid.uuid4().hex[:8]}")
    fresh.write_text(json.dumps({**seen, "sha256": digest}))
    fresh.replace(note)
    return digest
