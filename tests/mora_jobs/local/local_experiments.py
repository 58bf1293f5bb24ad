"""Experiments of fake jobs (see fake_drivers/) for tests of the local runner."""

import sys
from pathlib import Path
from typing import Any

import yaml


class Experiment:
    """Manifests in a folder, and a workdir for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "manifests"
        self.workdir = folder / "workdir"
        self.folder.mkdir()
        (self.folder / "prompts.jsonl").write_text('{"id": "a", "prompt": "hello"}\n{"id": "b", "prompt": "salut"}\n')
        self._written: dict[str, dict[str, Any]] = {}

    def rollout(self, name: str, **wishes: str) -> None:
        """A RolloutJob; `wishes` are the annotations of the fake driver."""
        spec = {
            "model": {"uri": "file://model"},
            "prompts": {"uri": "file://prompts.jsonl"},
            "rewards": [{"name": "helpful", "python": {"callable": "rewards:helpful"}}],
        }
        self.add("RolloutJob", name, spec, wishes)

    def rewrite(self, name: str, of: str, **wishes: str) -> None:
        spec = {
            "source": {"rolloutJobRef": {"name": of}},
            "rewriter": {"templates": [{"name": "more", "template": "{{ prompt }} please"}]},
        }
        self.add("RewriteJob", name, spec, wishes)

    def align(self, name: str, of: str, **wishes: str) -> None:
        spec = {
            "model": {"uri": "file://model"},
            "data": {"rewriteJobRef": {"name": of}},
            "objectives": [{"name": "helpful"}],
            "lora": {},
        }
        self.add("AlignmentJob", name, spec, wishes)

    def add(self, kind: str, name: str, spec: dict[str, Any], wishes: dict[str, str]) -> None:
        self._written[f"{kind}/{name}"] = {
            "apiVersion": "mora.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "annotations": {f"fake/{key}": value for key, value in wishes.items()}},
            "spec": {"backoffLimit": 0} | spec | {"output": {"uri": f"file://out/{name}"}},
        }
        self.write()

    def change(self, key: str, **members: Any) -> None:
        """Set members of a job's spec."""
        self._written[key]["spec"] |= members
        self.write()

    def wish(self, key: str, **wishes: str) -> None:
        """Change what the fake driver does."""
        self._written[key]["metadata"]["annotations"] |= {f"fake/{name}": value for name, value in wishes.items()}
        self.write()

    def write(self) -> None:
        (self.folder / "jobs.yaml").write_text(yaml.safe_dump_all(self._written.values()))

    def status(self, key: str) -> dict[str, Any]:
        """The object of a job as its status file has it."""
        kind, name = key.split("/")
        loaded: dict[str, Any] = yaml.safe_load((self.workdir / "status" / f"{kind.lower()}-{name}.yaml").read_text())
        return loaded

    def phase(self, key: str) -> str:
        return str(self.status(key)["status"]["phase"])

    def conditions(self, key: str) -> dict[str, tuple[str, str]]:
        """Status and reason by type."""
        return {c["type"]: (c["status"], c["reason"]) for c in self.status(key)["status"]["conditions"]}

    def steps(self, name: str) -> list[Path]:
        """What the fake driver of a job has committed."""
        return sorted((self.workdir / "out" / name / "steps").glob("*.txt"))

    def events(self, key: str) -> list[str]:
        """Reasons of a job's events, in order."""
        from mora_jobs.local.workdir import Workdir

        return [e["reason"] for e in Workdir(self.workdir).events() if f"{e['kind']}/{e['name']}" == key]

    def command(self, *more: str) -> list[str]:
        given = ["run", "-f", str(self.folder), "--workdir", str(self.workdir), *more]
        return [sys.executable, "-m", "mora_jobs.cli", *given]
