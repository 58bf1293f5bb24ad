"""A hash-checked lock file without some distributions, for a small image on a small machine."""

import re
from collections.abc import Iterable


def without(lock: str, names: Iterable[str]) -> str:
    unwanted = {name.lower() for name in names}
    kept = []
    # A requirement and the hashes that belong to it are joined by backslashes.
    for entry in lock.replace("\\\n", "\0").splitlines():
        name = re.split(r"[=<>;\[ \0]", entry, maxsplit=1)[0].lower()
        if name in unwanted:
            unwanted.remove(name)
        else:
            kept.append(entry.replace("\0", "\\\n"))
    if unwanted:
        raise SystemExit(f"not in the lock file: {', '.join(sorted(unwanted))}")
    return "\n".join(kept) + "\n"
