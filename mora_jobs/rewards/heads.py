"""A heads folder: linear heads over a sentence encoder, as `mora fit-reward` exports them.

    config.json         says what kind of model folder this is
    mora_heads.json     format, encoder, recipe and kind of each head, sha256 of the weights
    heads.safetensors   <head>.weight [width of its recipe] and <head>.bias [1], standardisation folded in
    encoder/            a copy of the encoder, unless the document names another place

A score is the head's raw output: the logit of a logistic head, the rating of a regression head.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from mora_jobs import api
from mora_jobs.errors import UserError
from mora_jobs.models import fetch
from mora_jobs.models.digest import digest_files, model_files
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.features import Embeddings, Floats, Part, TextEncoder

HEADS_FILE = "mora_heads.json"
WEIGHTS_FILE = "heads.safetensors"
ENCODER_FOLDER = "encoder"
FORMAT = 1
CONFIG = '{"architectures": ["MoraHeads"], "model_type": "mora-heads"}\n'


@dataclass(frozen=True)
class Head:
    """One linear head. `kind` is Logistic or Regression; `quality` its cross-validated figures, for the reader."""

    name: str
    kind: str
    recipe: tuple[Part, ...]
    weight: Floats
    bias: float
    quality: Mapping[str, Any]

    def outputs(self, embeddings: Embeddings) -> Floats:
        return embeddings.features(self.recipe) @ self.weight + self.bias


class HeadsModel:
    """The heads of a folder; `outputs` has a column for each, in the order of the document."""

    def __init__(self, folder: Path) -> None:
        from mora_jobs.models.encoder import Encoder  # torch

        document = read_document(folder)
        self._heads = read_heads(folder, document)
        self._columns: dict[str, str] = document["statements"]
        self._encoder: TextEncoder = Encoder(_encoder(folder, document["encoder"]))
        self.heads = len(self._heads)

    def outputs(self, items: Sequence[Item]) -> NDArray[np.float64]:
        """[len(items), heads]; NaN where an item lacks the reference statements that a head needs."""
        if not items:
            return np.empty((0, self.heads))
        embeddings = Embeddings(self._encoder, items, self._columns)
        return np.stack([head.outputs(embeddings) for head in self._heads], axis=1)


def write_heads(folder: Path, heads: Sequence[Head], encoder: Mapping[str, str], columns: Mapping[str, str]) -> str:
    """Write document and weights; the same heads give the same bytes. The digest of the document comes back."""
    weights = save_tensors(
        {f"{head.name}.weight": head.weight.astype(np.float32) for head in heads}
        | {f"{head.name}.bias": np.asarray([head.bias], dtype=np.float32) for head in heads}
    )
    document = {
        "format": FORMAT,
        "encoder": dict(encoder),
        "statements": dict(columns),
        "heads": [
            {"name": h.name, "kind": h.kind, "features": list(h.recipe), "quality": dict(h.quality)} for h in heads
        ],
        "weights": {"file": WEIGHTS_FILE, "digest": _digest(weights)},
    }
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(CONFIG, encoding="utf-8")
    (folder / WEIGHTS_FILE).write_bytes(weights)
    (folder / HEADS_FILE).write_text(text, encoding="utf-8")
    return _digest(text.encode())


def read_document(folder: Path) -> dict[str, Any]:
    where = str(folder / HEADS_FILE)
    try:
        document = json.loads((folder / HEADS_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(where, f"not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UserError(where, f"is not of format {FORMAT}", "make the folder again by `mora fit-reward`")
    return document


def read_heads(folder: Path, document: Mapping[str, Any]) -> list[Head]:
    content = (folder / WEIGHTS_FILE).read_bytes()
    if _digest(content) != document["weights"]["digest"]:
        raise UserError(str(folder / WEIGHTS_FILE), f"is not the file that {HEADS_FILE} was written with")
    tensors = load_tensors(content)
    return [
        Head(
            head["name"],
            head["kind"],
            tuple(Part(part) for part in head["features"]),
            tensors[f"{head['name']}.weight"].astype(np.float64),
            float(tensors[f"{head['name']}.bias"][0]),
            head["quality"],
        )
        for head in document["heads"]
    ]


def _encoder(folder: Path, reference: Mapping[str, str]) -> Path:
    """The encoder's local folder: beside the document or behind a URI, with the content that the heads were fitted on."""
    if "folder" in reference:
        path = (folder / reference["folder"]).resolve()
        place, digest = str(path), digest_files(path, model_files(path)) if path.is_dir() else "nothing"
    else:
        local = fetch(api.ModelRef(uri=reference["uri"], revision=reference.get("revision")))
        place, path, digest = local.uri, local.path, local.digest
    if digest != reference["digest"]:
        raise UserError(
            str(folder / HEADS_FILE),
            f"the encoder at {place} is not the one that the heads were fitted on",
            "put that one there, or fit the heads again",
        )
    return path


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
