"""What the user sees while a run goes on: one live table on a terminal, a line now and then elsewhere."""

import sys
import termios
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mora_jobs.api import ConditionType, Phase

from .record import JobRecord, now

LINE_SECONDS = 30.0
"""Least time between two lines of a job in the same stage, without a terminal."""
WIDE, BAR = 96, 14
"""Columns of a terminal from which on there are bars, and their length."""
STYLES = {
    Phase.RUNNING: "bold cyan",
    Phase.COMPLETE: "green",
    Phase.FAILED: "bold red",
    Phase.STALLED: "red",
    Phase.SUSPENDED: "yellow",
}


class Display:
    """Shows the records; `refresh` may be called as often as one likes."""

    def __init__(
        self, records: Mapping[str, JobRecord], console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._records, self._console, self._clock = records, console, clock
        self._live: Live | None = None
        self._terminal: list[Any] | None = None
        self._shown: dict[str, tuple[str, str, str]] = {}
        self._shown_at: dict[str, float] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._silence_control_keys()
            # Transient: the summary takes the table's place when the run has ended.
            self._live = Live(
                console=self._console,
                get_renderable=self._table,
                refresh_per_second=4,
                vertical_overflow="visible",
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            if self._terminal is not None:
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._terminal)
        else:
            self.refresh()

    def say(self, line: str) -> None:
        """A line of its own, above the table."""
        if self._console.is_terminal:
            self._console.print(Text(line, style="dim"))
        else:
            self._console.print(f"{now():%H:%M:%S} {line}", markup=False, highlight=False, soft_wrap=True)

    def refresh(self) -> None:
        """Print a line for each job that has something new to say; a terminal refreshes by itself."""
        if self._live is not None:
            return
        for key, record in self._records.items():
            status = record.snapshot()["status"]
            progress = status.get("progress", {})
            seen = (str(status.get("phase", "")), progress.get("stage", ""), detail(status))
            if seen == self._shown.get(key):
                continue
            same_stage = seen[:2] == self._shown.get(key, ("", ""))[:2]
            if same_stage and self._clock() - self._shown_at[key] < LINE_SECONDS:
                continue
            self._shown[key], self._shown_at[key] = seen, self._clock()
            self.say(line_of(key, status))

    def _silence_control_keys(self) -> None:
        """Without this the terminal writes ^C into the table."""
        if sys.stdin.isatty():
            self._terminal = termios.tcgetattr(sys.stdin)
            quiet = termios.tcgetattr(sys.stdin)
            quiet[3] &= ~termios.ECHOCTL
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)

    def _table(self) -> RenderableType:
        rows = {key: record.snapshot()["status"] for key, record in self._records.items()}
        return jobs_table(rows, self._console.width)


def line_of(key: str, status: Mapping[str, Any]) -> str:
    """A job in one line of plain text."""
    phase, progress = str(status.get("phase") or Phase.PENDING), status.get("progress", {})
    running = [progress.get("stage", ""), counts(progress)] if phase == Phase.RUNNING else []
    return " ".join(word for word in [key, phase, *running, detail(status)] if word)


def jobs_table(statuses: Mapping[str, Mapping[str, Any]], width: int) -> Table:
    """One row for each job. Names are never cut; where `width` is scarce there is no bar, and the stage stands for the phase."""
    wide = width >= WIDE
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, expand=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, min_width=9)
    if wide:
        table.add_column(no_wrap=True, width=BAR)
    table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
    for key, status in statuses.items():
        phase = Phase(status.get("phase") or Phase.PENDING)
        progress = status.get("progress", {}) if phase is Phase.RUNNING else {}
        stage = progress.get("stage", "")
        state = f"{phase.value} {stage}".strip() if wide or not stage else stage
        what = ", ".join(part for part in (counts(progress), detail(status)) if part)
        style = "" if phase is Phase.RUNNING else "dim"
        bar = [_bar(phase, progress)] if wide else []
        table.add_row(Text(key), Text(state, STYLES.get(phase, "")), *bar, Text(what, style))
    return table


def _bar(phase: Phase, progress: Mapping[str, Any]) -> RenderableType:
    if phase is Phase.COMPLETE:
        return ProgressBar(total=1, completed=1, finished_style="green")
    if progress.get("total"):
        return ProgressBar(total=progress["total"], completed=progress.get("completed", 0))
    return ProgressBar(total=None, pulse=True) if phase is Phase.RUNNING else ""


def counts(progress: Mapping[str, Any]) -> str:
    """12/64 prompts."""
    if not progress.get("total"):
        return ""
    failed = f", {progress['failed']} failed" if progress.get("failed") else ""
    return f"{progress.get('completed', 0)}/{progress['total']} {progress.get('unit', '').lower()}{failed}"


def detail(status: Mapping[str, Any]) -> str:
    """Rate and time left of a running job, time taken of a complete one, the message of any other."""
    phase = status.get("phase")
    if phase == Phase.RUNNING:
        return ", ".join(part for part in (rate(status), remaining(status.get("progress", {}))) if part)
    message = _message(status)
    if phase == Phase.COMPLETE:
        taken = duration(_seconds(status.get("startTime"), status.get("completionTime")))
        return f"{message} ({taken})" if message not in ("", "complete") else f"in {taken}"
    return message


def rate(status: Mapping[str, Any]) -> str:
    """Units per second, or per minute where that says more."""
    unit = str(status.get("progress", {}).get("unit", "")).lower()
    value = next((m["value"] for m in status.get("metrics", []) if m["name"] == f"{unit}_per_second"), None)
    if value is None:
        return ""
    speed = float(value)
    if speed < 0.1:
        return f"{speed * 60:.3g}/min"
    return f"{speed:,.0f}/s" if speed >= 100 else f"{speed:.3g}/s"


def remaining(progress: Mapping[str, Any]) -> str:
    seconds = progress.get("estimatedRemainingSeconds")
    return f"{duration(seconds)} left" if seconds else ""


def duration(seconds: float) -> str:
    """45 s, 3:07 min, 1:02 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def _message(status: Mapping[str, Any]) -> str:
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    ready = conditions.get(ConditionType.READY, {})
    return str(ready.get("message", ""))


def _seconds(start: str | None, end: str | None) -> float:
    if not start or not end:
        return 0.0
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
