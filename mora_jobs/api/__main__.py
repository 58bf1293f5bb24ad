"""`python -m mora_jobs.api FOLDER` writes the CustomResourceDefinitions."""

import sys
from pathlib import Path

from .crd import crd_yaml
from .resolved import KINDS


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (folder / f"{kind.lower()}s.mora.dev.yaml").write_text(crd_yaml(kind), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
