"""A `mora run` of three real jobs, and kill -9 of its processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from processes import SECONDS, belonging, until
from small_experiment import SmallExperiment

HERE = Path(__file__).parent
JOBS = {"rollout": "rolloutjob-small", "rewrite": "rewritejob-small", "align": "alignmentjob-small"}
VICTIMS = ["driver", "actor", "run"]
ACTORS = (b"ray::EngineHost", b"ray::RewardActor", b"ray::RayTrainWorker")
Rows = dict[str, dict[str, object]]


class Experiment:
    """The manifests in a folder, and one workdir."""

    def __init__(self, folder: Path, model: Path, workdir: str) -> None:
        self.workdir = folder / workdir
        self.manifests = folder / "manifests"
        if not self.manifests.exists():
            small = SmallExperiment(self.manifests, model, prompts=8)
            (self.manifests / "jobs.yaml").write_text(yaml.safe_dump_all(small.manifests()))
        self.log = folder / f"{workdir}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.seen: set[Path] = set()
        self.committed: dict[Path, bytes] = {}

    def start(self) -> None:
        self.mark = f"MORA_TEST={uuid.uuid4().hex}"
        path = os.pathsep.join([str(HERE / "every_row"), str(HERE.parents[2])])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mora_jobs.cli", "run", "-f", self.manifests, "--workdir", self.workdir],
                env=os.environ | {"PYTHONPATH": path} | dict([self.mark.split("=")]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def finish(self) -> None:
        assert self.process is not None
        assert self.process.wait(SECONDS) == 0, self.log.read_text()

    def kill(self, victim: str, job: str) -> bool:
        """kill -9 of the job's `driver`, of an `actor` that works for it, or of the whole `run`, which is started again.

        False when there is nothing to kill until the job's end.
        """
        pids = [] if victim == "run" else self._await_processes(victim, job)
        if victim == "run":
            assert self.process is not None
            self.process.kill()
            self.process.wait()
            self._await(lambda: not belonging(self.mark), "all processes to end")
        elif not pids:
            return False
        else:
            os.kill(pids[-1], signal.SIGKILL)
        self.check_committed()
        self.committed |= self._committed()
        if victim == "run":
            self.start()
        return True

    def files(self, job: str) -> int:
        """How many files the job has ever written, as far as they were seen."""
        folder = self.workdir / job
        if folder.exists():
            self.seen |= {path for path in folder.rglob("*") if path.suffix in (".parquet", ".json")}
        return sum(path.is_relative_to(folder) for path in self.seen)

    def is_over(self, job: str) -> bool:
        return (self.workdir / job / "_complete.json").exists()

    def until_files(self, job: str, count: int) -> None:
        self._await(lambda: self.files(job) >= count or self.is_over(job), f"{count} files of {job}")

    def check_committed(self) -> None:
        """Rows that were committed before an earlier kill are there, byte by byte."""
        for path, content in self.committed.items():
            assert path.read_bytes() == content, path

    def tables(self) -> dict[str, Rows]:
        """All tables of rows by their folder; every id is there once."""
        found: dict[str, Rows] = {}
        for manifest in sorted(self.workdir.rglob("manifest")):
            rows: Rows = {}
            for path in sorted(_parts(manifest)):
                for row in pq.read_table(path).to_pylist():
                    assert row["id"] not in rows, (manifest, row["id"])
                    rows[row["id"]] = row
            found[str(manifest.parent.relative_to(self.workdir))] = rows
        return found

    def document(self, path: str) -> str:
        """A document of a job, without the place of the workdir."""
        return (self.workdir / path).read_text().replace(str(self.workdir), "")

    def _committed(self) -> dict[Path, bytes]:
        found: dict[Path, bytes] = {}
        for manifest in self.workdir.rglob("manifest"):
            for path in [*manifest.glob("*.json"), *_parts(manifest)]:
                found[path] = path.read_bytes()
        return found

    def _await_processes(self, victim: str, job: str) -> list[int]:
        wanted = ACTORS if victim == "actor" else (JOBS[job].encode(),)
        found: list[int] = []

        def there() -> bool:
            found[:] = self._processes(wanted)
            return bool(found) or self.is_over(job)

        self._await(there, f"an {victim} of {job}")
        return found

    def _processes(self, wanted: tuple[bytes, ...]) -> list[int]:
        """Processes of this run with one of `wanted` in their command line."""
        found = []
        for process in belonging(self.mark):
            with contextlib.suppress(OSError):  # gone meanwhile
                command = Path(f"/proc/{process}/cmdline").read_bytes()
                if any(each in command for each in wanted):
                    found.append(process)
        return found

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        def checked() -> bool:
            assert self.process is None or self.process.poll() in (None, 0, -signal.SIGKILL), self.log.read_text()
            return condition()

        until(checked, what)


def _parts(manifest: Path) -> list[Path]:
    """The parts that count; other entries denounce what a killed writer left."""
    entries = [json.loads(file.read_text()) for file in manifest.glob("*.json")]
    return [manifest.parent / entry["part"] for entry in entries if "part" in entry]
