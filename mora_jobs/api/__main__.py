"""`python -m mora_jobs.api [CRDS [DOCS]]` writes the CustomResourceDefinitions and the API reference (crds, docs)."""

import sys
from pathlib import Path

from .crd import crd_yaml
from .reference import reference
from .resolved import KINDS


def generated(crds: Path, docs: Path) -> dict[Path, str]:
    """Every generated file with its content."""
    files = {crds / f"{kind.lower()}s.mora.dev.yaml": crd_yaml(kind) for kind in KINDS}
    return files | {docs / "api.md": reference()}


def main(crds: str = "crds", docs: str = "docs") -> None:
    for file, text in generated(Path(crds), Path(docs)).items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
