"""Errors as the user sees them: one line each, never a traceback for what the user can put right."""

import sys
import traceback

from mora_jobs.api.redact import redact
from mora_jobs.errors import UserError


class Unreachable(Exception):
    """The cluster cannot be reached."""


class JobFailed(Exception):
    """What the user asked for was done, and the job has failed."""


def explain(error: Exception) -> int:
    """Print an error to stderr; returns the exit code that it stands for."""
    if isinstance(error, UserError):
        return _say(str(error), 2)
    if isinstance(error, Unreachable):
        return _say(str(error), 3)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] != "mora_jobs":
        return _say(f"{error.name} is not installed; pip install 'mora-operator[jobs,cli]'", 2)
    lines = getattr(error, "lines", None)  # local.experiment.Refused: a line for each fault
    if lines is not None:
        for line in lines:
            print(redact(line), file=sys.stderr)
        return 2
    if type(error).__name__ in ("RayFailed", "JobFailed", "StoreUnavailable"):
        return _say(str(error), 1)
    traceback.print_exception(error)
    return _say("this is a bug in mora; please report it with the lines above", 1)


def _say(line: str, code: int) -> int:
    print(f"mora: {redact(line)}", file=sys.stderr)
    return code
