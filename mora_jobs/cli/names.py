"""KIND/NAME on the command line."""

from collections.abc import Sequence

from mora_jobs.api import KINDS
from mora_jobs.api.kinds import kind_of
from mora_jobs.errors import UserError


def kind(text: str) -> str:
    """A kind in any spelling. UserError with the nearest one."""
    try:
        return kind_of(text)
    except ValueError as error:
        raise UserError(text, str(error)) from None


def job(text: str) -> tuple[str, str]:
    """Kind and name of KIND/NAME."""
    first, slash, name = text.partition("/")
    if not slash or not name or "/" in name:
        raise UserError(text, "is not of the form KIND/NAME", "e.g. RolloutJob/helpful or rlj/helpful")
    return kind(first), name


def selection(text: str | None) -> tuple[Sequence[str], str | None]:
    """What KIND/NAME, KIND or nothing stands for: kinds, and the name where one is given."""
    if text is None:
        return list(KINDS), None
    if "/" not in text:
        return [kind(text)], None
    of, name = job(text)
    return [of], name
