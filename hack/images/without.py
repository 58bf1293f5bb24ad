"""Print a hash-checked lock file without some distributions: without.py LOCK NAME..."""

import re
import sys
from pathlib import Path

lock, *names = sys.argv[1:]
unwanted = {name.lower() for name in names}
# A requirement and the hashes that belong to it are joined by backslashes.
for entry in Path(lock).read_text().replace("\\\n", "\0").splitlines():
    name = re.split(r"[=<>;\[ \0]", entry, maxsplit=1)[0].lower()
    if name not in unwanted:
        print(entry.replace("\0", "\\\n"))
