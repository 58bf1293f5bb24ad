"""How the page writes numbers: few digits, a real minus sign, a dash for what is not known."""

import math
from datetime import datetime
from typing import Any

from mora_jobs.report.style import as_number

UNKNOWN = "–"


def fixed(value: Any, digits: int = 3) -> str:
    """0.217; also for the texts of a status."""
    number = as_number(value)
    # z: what rounds to zero has no sign.
    return UNKNOWN if number is None else _minus(f"{number:z.{digits}f}")


def signed(value: Any, digits: int = 3) -> str:
    """+0.217; 0 without a sign."""
    number = as_number(value)
    if number is None:
        return UNKNOWN
    text = f"{number:+.{digits}f}"
    return _minus(text if float(text) else text[1:])


def between(low: Any, high: Any, digits: int = 3) -> str:
    """[−0.02, +0.10], or nothing where there is no interval."""
    if as_number(low) is None or as_number(high) is None:
        return ""
    return f"[{signed(low, digits)}, {signed(high, digits)}]"


def compact(value: Any) -> str:
    """Three digits that count, for raw scores of any size: −0.114, 1,230, 4.1e−07."""
    number = as_number(value)
    if number is None:
        return UNKNOWN
    if number and not 1e-4 <= abs(number) < 1e6:
        return _minus(f"{number:.2g}")
    return _minus(f"{number:,.{raw_digits(number)}f}")


def percent(share: Any) -> str:
    number = as_number(share)
    return UNKNOWN if number is None else f"{_minus(f'{100 * number:.0f}')} %"


def raw_digits(spread: Any) -> int:
    """Digits after the point that are worth showing of figures that vary by `spread`."""
    number = as_number(spread)
    if not number:
        return 3
    return min(6, max(0, 2 - math.floor(math.log10(abs(number)))))


def count(value: int) -> str:
    return f"{value:,}"


def span(seconds: float | None) -> str:
    """3 h 05 min, 3 min 20 s, 12 s."""
    if seconds is None or seconds < 0:
        return UNKNOWN
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {left:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def when(time: datetime | None) -> str:
    return UNKNOWN if time is None else f"{time:%Y-%m-%d %H:%M} UTC"


def plural(number: int, one: str, several: str = "") -> str:
    """1 prompt, 1,200 prompts."""
    return f"{count(number)} {one if number == 1 else several or one + 's'}"


def _minus(text: str) -> str:
    return text.replace("-", "−")
