"""Imports from a user's folder that leave sys.path and sys.modules as they were.

Two jobs may each bring a `my_rewards.py`, and a folder may hold a module named like one of ours: what a folder's code
imports from that folder is therefore kept in a namespace of the folder, and is in sys.modules only while it runs.
"""

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_lock = threading.RLock()


class ImportFolder:
    """One folder that Python code is imported from."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        self._modules: dict[str, ModuleType] = {}

    def has(self, module: str) -> bool:
        """Whether the folder brings `module` (dotted)."""
        path = self.folder.joinpath(*module.split("."))
        return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()

    @contextmanager
    def active(self) -> Iterator[None]:
        """While this holds, imports see the folder first; afterwards nothing of it is left behind."""
        with _lock:
            own = self._names()
            hidden = _take(own)
            sys.modules.update(self._modules)
            sys.path.insert(0, str(self.folder))
            importlib.invalidate_caches()  # the folder may have been written a moment ago
            try:
                yield
            finally:
                sys.path.remove(str(self.folder))
                self._modules = _take(own)
                sys.modules.update(hidden)

    def _names(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*.py")} | {
            path.parent.name for path in self.folder.glob("*/__init__.py")
        }


def _take(names: set[str]) -> dict[str, ModuleType]:
    found = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}
    for name in found:
        del sys.modules[name]
    return found
