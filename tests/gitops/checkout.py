"""A copy of examples/gitops, as a team would have it in Git."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml
from control_plane import ROOT, Cluster

EXAMPLES = ROOT / "examples" / "gitops"
OVERLAY = "overlays/dev"


class Checkout:
    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.folder, self._cluster = folder, cluster
        shutil.copytree(EXAMPLES, folder)

    def render(self, path: str = OVERLAY) -> list[dict[str, Any]]:
        """What Kustomize makes of a folder."""
        text = self._cluster.kubectl("kustomize", str(self.folder / path)).stdout
        return [document for document in yaml.safe_load_all(text) if document]

    def name(self, *arguments: str, path: str = OVERLAY) -> subprocess.CompletedProcess[str]:
        """Run `name`, with the kubectl of these tests."""
        environment = os.environ | {"PATH": f"{self._cluster.assets}:{os.environ['PATH']}"}
        command = [str(self.folder / "name"), *arguments, str(self.folder / path)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    def replace(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{path}: {old}"
        file.write_text(text.replace(old, new))

    def kustomization(self, path: str, **members: Any) -> None:
        """Write a kustomization.yaml into a folder."""
        folder = self.folder / path
        folder.mkdir(parents=True, exist_ok=True)
        header = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(header | members))
