"""Fill the page. Everything that comes from manifests, models or data is escaped; nothing is fetched when it is read."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mora_jobs import __version__, api
from mora_jobs.report import figures
from mora_jobs.report.job import Head, printable
from mora_jobs.report.rewrite_section import GROUPS
from mora_jobs.report.style import as_number

TEMPLATES = Path(__file__).parent / "templates"
LONGEST = 1600  # characters of a prompt or a response that are shown
CLASSES = {"SingleReward": "single-reward", "MultiReward": "multi-reward", "Mixed": "mixed", "Dead": "dead"}
# As in an address bar: characters that turn the direction of the text around them would change what a reader sees.
_INVISIBLE = {
    ord(c): f"⟨U+{ord(c):04X}⟩" for c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
}


@dataclass(frozen=True)
class Tile:
    """The main figure of a job on the first screen."""

    value: str
    label: str
    note: str


@dataclass(frozen=True)
class Page:
    """What the page is about. A section has a `head` (Head) and a `body` for its kind, or None."""

    title: str
    sections: Sequence[Any]
    events: Sequence[Mapping[str, Any]]


def fill(page: Page) -> str:
    """The whole HTML page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,  # a misspelt name is an error, not a blank
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "fixed": figures.fixed,
        "signed": figures.signed,
        "compact": figures.compact,
        "count": figures.count,
        "percent": figures.percent,
        "when": figures.when,
        "clip": clip,
        "words": words,
        "tint": tint,
        "share": share,
    }
    environment.globals |= {
        "between": figures.between,
        "plural": figures.plural,
        "tile": tile,
        "raw_digits": figures.raw_digits,
        "class_names": CLASSES,
        "group_names": GROUPS,
    }
    heads: list[Head] = [section.head for section in page.sections]
    return environment.get_template("page.html.j2").render(
        page=page,
        version=__version__,
        finished=max((each.finished for each in heads if each.finished), default=None),
        open_jobs=[each for each in heads if not each.complete],
    )


def tile(section: Any) -> Tile | None:
    """The main figure of a job; None before there is one."""
    status = section.head.shown.status
    match section.head.job.kind:
        case "RolloutJob" if status and status.isolation:
            found = status.isolation
            total = found.single_reward_total + found.multi_reward + found.mixed + found.dead
            rollouts = f"{figures.count(status.rollouts.samples)} rollouts" if status.rollouts else ""
            return Tile(f"{found.single_reward_total} of {total}", "single-reward prompts", rollouts)
        case "RewriteJob" if status and status.rewrites:
            done = f"{status.rewrites.accepted} of {status.rewrites.prompts.total}"
            return Tile(done, "prompts rewritten", _balance(status.gain) if status.gain else "")
        case "AlignmentJob" if status and status.objectives:
            gain = next((each for each in status.objectives if each.name == "overall"), status.objectives[0])
            low, high = gain.ci or (None, None)
            return Tile(figures.signed(gain.points, 1), f"points of 100, {gain.name}", figures.between(low, high, 1))
    return None


def _balance(gain: api.rewrite.Gain) -> str:
    before, after = as_number(gain.balance.before), as_number(gain.balance.after)
    if before is None or after is None:
        return ""
    return f"balance {figures.signed(after - before)} {figures.between(*(gain.balance.ci or (None, None)))}".strip()


def clip(text: str) -> str:
    """A text from a model or from data as it can be shown: not endless, without control characters."""
    shown = printable(text)
    # Half a character can only come from a broken file, and cannot be written as UTF-8.
    shown = "".join("�" if unicodedata.category(c) == "Cs" else c for c in shown[: LONGEST + 1]).translate(_INVISIBLE)
    if len(text) > LONGEST:
        return f"{shown[:LONGEST]}… ({figures.count(len(text) - LONGEST)} more characters)"
    return shown


def words(reason: str) -> str:
    """PascalCase as words: ReplicationBalanceGain → replication balance gain."""
    return "".join(f" {c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(reason))


def tint(value: Any, low: float = 0.0, high: float = 1.0, colour: str = "0,114,178") -> str:
    """A background of a table's cell, darker with the value."""
    number = as_number(value)
    if number is None or high <= low:
        return ""
    strength = 0.05 + 0.4 * min(1.0, max(0.0, (number - low) / (high - low)))
    return f"background:rgba({colour},{strength:.2f})"


def share(value: Any) -> str:
    """A value of [0, 1] as the width of a bar."""
    return f"{100 * min(1.0, max(0.0, as_number(value) or 0.0)):.0f}%"
