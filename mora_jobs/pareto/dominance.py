"""Pareto dominance; every objective is maximised."""

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def dominates(a: ArrayLike, b: ArrayLike) -> bool:
    """Whether point a [K] is at least as good as b [K] on every objective and better on one."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return bool((first >= second).all() and (first > second).any())


def non_dominated(points: ArrayLike) -> NDArray[np.bool_]:
    """[n] mask of the points [n, K] that no other point dominates; equal points do not dominate each other, all are kept.

    ValueError for a NaN or infinite value: moocore would take it silently.
    """
    values = checked(points)
    if len(values) == 0:
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(values, maximise=True, keep_weakly=True), dtype=bool)


def coverage(a: ArrayLike, b: ArrayLike) -> float:
    """C(A, B): the share of the points B [m, K] that at least one point of A [n, K] equals or dominates, in [0, 1].

    Zitzler & Thiele 1999 (IEEE Trans. Evol. Comput. 3(4)).  C(A, B) = 1 with C(B, A) < 1 means that A is never worse;
    C(A, B) and 1 − C(B, A) differ in general, so both directions are reported.  NaN when B is empty.
    """
    first, second = checked(a), checked(b)
    if len(second) == 0:
        return float("nan")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"fronts of {first.shape[1]} and {second.shape[1]} objectives cannot be compared")
    at_least = np.all(first[None] >= second[:, None], axis=2)
    return float(np.any(at_least, axis=1).mean())


def checked(points: ArrayLike) -> Floats:
    """The points as [n, K] floats; ValueError if that is not their shape or a value is not finite."""
    values = np.asarray(points, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"points must be [n, K], not {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("points must be finite")
    return values
