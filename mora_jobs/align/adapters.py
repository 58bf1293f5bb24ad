"""Folders of LoRA adapters, in PEFT's layout."""

import json
from pathlib import Path
from typing import Any

from mora_jobs.artifacts.store import Store
from mora_jobs.models.local_model import ADAPTER_CONFIG


def adapter_folder(uri: str) -> Path:
    """A local copy of an adapter folder."""
    parent, _, name = uri.rstrip("/").rpartition("/")
    return Store(parent).local(name)


def write_config(config: dict[str, Any], folder: Path) -> None:
    """adapter_config.json, the same bytes for the same content."""
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
