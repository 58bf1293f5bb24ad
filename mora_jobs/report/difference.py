"""Which words a rewrite added to its original."""

import re
from difflib import SequenceMatcher

# Words and marks, with the space behind them; a script without spaces is compared character by character.
_WIDE = "぀-ヿ㐀-鿿가-힯"
_TOKEN = re.compile(rf"[{_WIDE}]|[^\W{_WIDE}]+\s*|[^\w\s]\s*|\s+")
MOST_TOKENS = 2000  # beyond, comparing takes seconds and nobody reads it


def added(original: str, rewritten: str) -> list[tuple[str, bool]]:
    """The rewrite in pieces: (text, whether the original lacks it). Joined, the pieces are the rewrite."""
    a, b = _TOKEN.findall(original), _TOKEN.findall(rewritten)
    if max(len(a), len(b)) > MOST_TOKENS:
        return [(rewritten, False)]
    matcher = SequenceMatcher(a=[each.strip() for each in a], b=[each.strip() for each in b], autojunk=False)
    return [("".join(b[start:end]), tag != "equal") for tag, _, _, start, end in matcher.get_opcodes() if end > start]
