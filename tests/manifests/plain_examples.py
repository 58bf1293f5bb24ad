"""The examples that `kubectl apply -f` and `mora run -f` take as they are."""

from pathlib import Path

from mora_jobs.api import GROUP

EXAMPLES = Path(__file__).parents[2] / "examples"
RENDERED = {"gitops", "quickstart-cluster"}
"""Folders of what Kustomize and Helm render first: tests/gitops and test_crds go through these."""


def plain_examples() -> list[Path]:
    """Their files."""
    return sorted(
        file
        for file in EXAMPLES.rglob("*.yaml")
        if file.relative_to(EXAMPLES).parts[0] not in RENDERED and GROUP in file.read_text()
    )
