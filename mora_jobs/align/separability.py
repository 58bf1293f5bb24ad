"""How well a linear probe tells preferred responses from the others by surface features, on prompts that it has not seen.

"More is Less" (arXiv 2504.02193): where chosen and rejected responses are linearly separable, as they are when different
models wrote them, training learns surface cues in place of the preference. What its probe reads we do not know. Ours needs no
model and reads hashed n-grams and the length, so it sees phrases, form and size, and nothing deeper.
"""

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse  # type: ignore[import-untyped]
from sklearn.feature_extraction.text import HashingVectorizer  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]
from sklearn.model_selection import GroupKFold  # type: ignore[import-untyped]

LEAST_PAIRS, MOST_PAIRS = 20, 2000
FOLDS = 5
EDGE = 400  # characters that are read at each end of a response: a bound on the cost
BUCKETS = 2**14


@dataclass(frozen=True)
class Contrast:
    """A pair as one objective sees it; equal prompts are never on both sides of a fold."""

    id: str
    prompt: str
    preferred: str
    other: str


@dataclass(frozen=True)
class Separability:
    """`auc` in [0, 1]: ½ where the probe knows nothing, 1 where it tells all responses apart. `pairs`: those it looked at."""

    auc: float
    pairs: int


def contrasts(rows: Iterable[dict[str, Any]], objectives: int, seed: int) -> list[list[Contrast]]:
    """For each objective at most MOST_PAIRS of the rows of PAIRS that speak about it, by a hash of seed and id.

    The preferred side stands first. The rows are read once for all objectives.
    """
    kept: list[list[tuple[int, str, dict[str, Any]]]] = [[] for _ in range(objectives)]
    for row in rows:
        digest = hashlib.sha256(f"{seed}\n{row['id']}".encode("utf-8", "surrogatepass")).digest()
        entry = (-int.from_bytes(digest), row["id"], row)  # the largest hash stands first in a heap, to be replaced
        for heap, sign in zip(kept, row["signs"], strict=True):
            if sign and len(heap) < MOST_PAIRS:
                heapq.heappush(heap, entry)
            elif sign:
                heapq.heappushpop(heap, entry)
    return [[_contrast(row, index) for _, _, row in sorted(heap, reverse=True)] for index, heap in enumerate(kept)]


def _contrast(row: dict[str, Any], objective: int) -> Contrast:
    sides = (row["chosen"], row["rejected"])
    preferred, other = sides if row["signs"][objective] > 0 else sides[::-1]
    return Contrast(row["id"], row["messages"], preferred, other)


def separability(pairs: list[Contrast], seed: int) -> Separability | None:
    """Cross-validated AUC of the probe; None with fewer than LEAST_PAIRS pairs or FOLDS prompts.

    Logistic regression (C = 1) on l2-normed counts of word 1- and 2-grams and of character 3-grams, and on the standardised
    logarithm of the length. FOLDS folds over prompts, dealt by `seed`.
    """
    groups = np.unique([pair.prompt for pair in pairs], return_inverse=True)[1] if pairs else np.zeros(0, int)
    if len(pairs) < LEAST_PAIRS or len(np.unique(groups)) < FOLDS:
        return None
    texts = [text for pair in pairs for text in (pair.preferred, pair.other)]
    x, y, groups = _features(texts), np.tile([1, 0], len(pairs)), np.repeat(groups, 2)
    scores = np.zeros(len(texts))
    for train, test in GroupKFold(FOLDS, shuffle=True, random_state=seed).split(x, groups=groups):
        probe = LogisticRegression(C=1.0, max_iter=500).fit(x[train], y[train])
        scores[test] = probe.decision_function(x[test])
    return Separability(float(roc_auc_score(y, scores)), len(pairs))


def _features(texts: list[str]) -> Any:
    """[N, features] as a sparse matrix."""
    read = [text if len(text) <= 2 * EDGE else f"{text[:EDGE]}\n{text[-EDGE:]}" for text in texts]
    words = HashingVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]", n_features=BUCKETS)
    characters = HashingVectorizer(analyzer="char", ngram_range=(3, 3), lowercase=False, n_features=BUCKETS)
    length = np.log1p([len(text) for text in texts])
    length = (length - length.mean()) / (length.std() or 1.0)
    return sparse.hstack([words.transform(read), characters.transform(read), length[:, None]], format="csr")
