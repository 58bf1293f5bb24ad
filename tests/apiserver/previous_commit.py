"""Files of the commit before this one, for tests of upgrades."""

import subprocess
from pathlib import Path

import pytest
from control_plane import ROOT


def previous_commit(folder: Path, *paths: str) -> Path:
    """Put `paths` of the previous commit into `folder`, which is made. Skips the test where Git does not have that commit."""
    git = ["git", "-C", str(ROOT)]
    found = subprocess.run([*git, "rev-parse", "HEAD~1"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("the previous commit is not here (a shallow clone): git fetch --deepen=1")
    archive = subprocess.run([*git, "archive", found.stdout.strip(), *paths], capture_output=True, check=True)
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder
