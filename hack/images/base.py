"""The base of all stages where python:*-slim cannot be pulled: Debian with its own Python, as slim."""

import shutil
import subprocess
from pathlib import Path

SUITE = "bookworm"  # the one that has Python 3.11
PACKAGES = ("ca-certificates", "python3", "python3-venv")
# Documentation and caches, which slim images leave out too.
NEEDLESS = ("doc", "man", "info", "locale", "lintian", "bash-completion", "bug", "common-licenses")


def base(folder: Path, log: Path) -> Path:
    """The unpacked system; made once."""
    root = folder / "base"
    if (root / "etc" / "mora-base").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    with log.open("w") as out:
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root)],
            stdout=out, stderr=out, check=False,
        )  # fmt: skip
    if made.returncode:
        raise SystemExit(f"debootstrap failed: see {log}")
    copyrights = root / "usr" / "share" / "doc"
    for path in [*copyrights.rglob("*")]:
        if path.is_file() and path.name != "copyright":
            path.unlink()
    for name in NEEDLESS[1:]:
        shutil.rmtree(root / "usr" / "share" / name, ignore_errors=True)
    for cache in (root / "var/cache/apt", root / "var/lib/apt/lists", root / "var/log", root / "var/cache/debconf"):
        for path in cache.rglob("*"):
            if path.is_file() and not path.name.endswith("config.dat"):
                path.unlink()
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    (root / "etc" / "mora-base").write_text(f"{SUITE} {' '.join(PACKAGES)}\n")
    return root
