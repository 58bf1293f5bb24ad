"""A model small enough for any cluster: the one that the other tests use, made by the same code."""

import importlib.util
from pathlib import Path
from typing import Any


def make_tiny_model(folder: Path) -> Path:
    """Save a random Llama with a tokenizer and a chat template into `folder`."""
    source = Path(__file__).parents[1] / "mora_jobs" / "conftest.py"
    spec = importlib.util.spec_from_file_location("mora_jobs_conftest", source)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Path = module.make_tiny_model(folder)
    return made
