"""The kinds as people type them."""

from .base import GROUP
from .crd import SHORT_NAMES
from .crosscheck import nearest
from .resolved import KINDS

PLURALS = {kind: f"{kind.lower()}s" for kind in KINDS}
_SPELLINGS = {
    **{kind.lower(): kind for kind in KINDS},
    **{plural: kind for kind, plural in PLURALS.items()},
    **{f"{plural}.{GROUP}": kind for kind, plural in PLURALS.items()},
    **{short: kind for kind, short in SHORT_NAMES.items()},
}


def kind_of(text: str) -> str:
    """The kind that is meant by RolloutJob, rolloutjobs, rolloutjobs.mora.dev, rlj, …

    Raises ValueError with the rest of a sentence that begins with the text.
    """
    kind = _SPELLINGS.get(text.lower())
    if kind is None:
        raise ValueError(f"is no kind of job{nearest(text, set(KINDS)) or '; kinds are ' + ', '.join(KINDS)}")
    return kind
