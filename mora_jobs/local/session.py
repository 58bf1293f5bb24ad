"""The processes of a run: a watchdog that ends whatever is left, the embedded Ray, and a driver for each job.

Nothing outlives `mora run`: drivers and the Ray head ask the kernel to be killed with it, Ray's daemons with the head,
and the watchdog ends what slipped through (workers' own children), which it knows by a variable in their environment.
"""

import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import mora_jobs
from mora_jobs import api
from mora_jobs.api import credentials
from mora_jobs.api.cluster import CredentialForm
from mora_jobs.api.progress import CA_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE
from mora_jobs.errors import UserError

from . import watchdog
from .capacity import Capacity, object_store_bytes

log = logging.getLogger(__name__)

RAY_START_SECONDS = 150.0
MARKER = "MORA_RUN"


class RayFailed(Exception):
    """The embedded Ray did not start."""


@dataclass(frozen=True, slots=True)
class Ray:
    """The embedded Ray, running."""

    address: str
    dashboard: str | None


class Session:
    """Use as a context manager; leaving it ends all processes and removes the scratch folder."""

    def __init__(self, token: str, given: Mapping[str, str] = os.environ) -> None:
        self.marker = f"{MARKER}={secrets.token_hex(16)}"
        # Ray puts sockets below its folder, whose paths may have 107 characters: never below a long TMPDIR.
        self.scratch = Path(tempfile.mkdtemp(prefix="mora-", dir="/tmp" if os.access("/tmp", os.W_OK) else None))
        self._environment = _environment(given) | dict([self.marker.split("=")])
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._ray: subprocess.Popen[str] | None = None
        token_file = self._secret("token", token)
        self._environment |= {TOKEN_VARIABLE: str(token_file), "RAY_AUTH_TOKEN": secrets.token_hex(32)}

    def __enter__(self) -> Self:
        command = [sys.executable, "-I", "-S", str(Path(watchdog.__file__)), self.marker, str(self.scratch)]
        self._watchdog = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._watchdog is not None
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait()
        if self._ray is not None:
            self._ray.wait()

    def add_credentials(self, jobs: Iterable[api.Job]) -> None:
        """Give the jobs' credentials to everything that is started later. UserError for one that is not there."""
        for job in jobs:
            for credential in job.spec.credentials:
                value = self._environment.get(credentials.local_variable(credential.name))
                assert value is not None, "missing_credentials was asked first"
                if credential.as_ is CredentialForm.ENV:
                    self._environment[credentials.variable(credential.name)] = value
                    continue
                file = self._secret(credential.name, value)
                self._environment |= credentials.client_environment(credential, str(file))

    def start_ray(self, capacity: Capacity, dashboard: bool, log_file: Path, on_end: Callable[[], None]) -> Ray:
        """Start Ray; `on_end` is called from another thread if it ends before the session does."""
        wanted = {
            "parent": os.getpid(),
            "cpus": capacity.cpus,
            "objectStoreBytes": object_store_bytes(),
            "dashboard": dashboard,
            "folder": str(self.scratch / "ray"),
        }
        command = [sys.executable, "-P", "-m", "mora_jobs.local.ray_head", json.dumps(wanted)]
        with log_file.open("ab") as errors:
            self._ray = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=self._environment,
                start_new_session=True,
            )
        line = _first_line(self._ray, RAY_START_SECONDS)
        if line is None:
            raise RayFailed(f"the embedded Ray did not start; see {log_file}")
        ready = json.loads(line)
        self._environment["RAY_ADDRESS"] = ready["address"]
        threading.Thread(target=_report_end, args=(self._ray, on_end), name="ray", daemon=True).start()
        return Ray(ready["address"], ready["dashboard"])

    def start_driver(self, job_file: Path, log_file: Path, url: str) -> subprocess.Popen[bytes]:
        """Start the driver of a resolved job; what it prints is appended to the log. Call it from the main thread."""
        command = [sys.executable, "-P", "-m", "mora_jobs", "--job", str(job_file), "--parent", str(os.getpid())]
        with log_file.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment | {URL_VARIABLE: url},
                start_new_session=True,  # Ctrl-C in the terminal is for `mora run`, which stops the drivers in order
            )

    def keep_ray_logs(self, folder: Path) -> None:
        """Copy Ray's own logs out of the scratch folder, for a run that failed."""
        logs = self.scratch / "ray" / "session_latest" / "logs"
        if logs.is_dir():
            shutil.copytree(logs.resolve(), folder, dirs_exist_ok=True, ignore_dangling_symlinks=True)

    def _secret(self, name: str, value: str) -> Path:
        """A file that only this user can read, gone with the session."""
        path = self.scratch / f"credential-{name}"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(value)
        return path


def missing_credentials(jobs: Iterable[api.Job], given: Mapping[str, str] = os.environ) -> list[UserError]:
    """What has to be set before the run can start."""
    return [
        UserError(
            f"{job.kind}/{job.metadata.name}: spec.credentials[{credential.name}]",
            f"the environment variable {credentials.local_variable(credential.name)} is not set",
            "`mora run` takes credentials from the environment",
        )
        for job in jobs
        for credential in job.spec.credentials
        if not given.get(credentials.local_variable(credential.name))
    ]


def terminate(process: subprocess.Popen[bytes]) -> None:
    """Ask a driver to stop."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a driver and its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """What drivers and Ray start from. A RAY_ADDRESS of another cluster is not taken over."""
    dropped = {"RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", CA_VARIABLE, URL_VARIABLE}
    root = str(Path(mora_jobs.__file__).parent.parent)
    path = os.pathsep.join(part for part in (root, given.get("PYTHONPATH", "")) if part)
    defaults = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return {
        **defaults,
        **{name: value for name, value in given.items() if name not in dropped},
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _first_line(process: subprocess.Popen[str], seconds: float) -> str | None:
    """The first line that a process prints, or None if it ends or takes too long."""
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: lines.append(process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
    reader.start()
    reader.join(seconds)
    return lines[0] if lines and lines[0].strip() else None


def _report_end(process: subprocess.Popen[str], on_end: Callable[[], None]) -> None:
    process.wait()
    on_end()
