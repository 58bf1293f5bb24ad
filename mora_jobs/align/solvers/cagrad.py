"""CAGrad (arXiv 2110.14048) and RACO (arXiv 2602.02495) from the Gram of the gradients.

With g_0 = Σ_k w_k g_k, the step d of CAGrad improves the worst objective as far as possible in a ball around g_0:

    max_d min_k ⟨g_k, d⟩   s.t.  ‖d − g_0‖ ≤ c ‖g_0‖

Its dual is a convex problem on the simplex, and gives the step:

    p = argmin_{p ∈ Δ_K} ⟨g_p, g_0⟩ + c ‖g_0‖ ‖g_p‖,  g_p = Σ_k p_k g_k,      d = g_0 + c ‖g_0‖ g_p / ‖g_p‖

The paper has w_k = 1/K. RACO takes the user's weights and pulls no objective harder than its weight: p̃ = min(p, w) takes the
place of p in d. The authors' code of CAGrad divides d by 1 + c² or 1 + c; RACO's and torchjd's do not, nor does this.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mora_jobs.align.solvers.min_norm import EPSILON, TIE, Matrix, Vector, checked, min_norm

STEPS = 64
"""Bound on the search for t in _dual, which takes 3 to 5 steps, and up to 20 where lengths differ by 10¹²."""


def cagrad(gram: ArrayLike, weights: ArrayLike, c: float, clip: bool) -> Vector:
    """[K] coefficients of d = Σ_k coefficient_k g_k: w + c ‖g_0‖ p / ‖g_p‖, with `clip` w + c ‖g_0‖ p̃ / ‖g_p̃‖.

    `gram` [K, K] holds the gradients' inner products (its unit does not matter), `weights` [K] ≥ 0 sum to 1, `c` is the
    radius of the ball in units of ‖g_0‖, 0 ≤ c < 1: from 1 on the ball holds d = 0, and the weighted loss need not fall.
    With one objective the coefficient is 1 + c.

    Where ‖g_0‖ or ‖g_p‖ is 0 up to rounding, or c is 0, the coefficients are w [D]: no direction is better than g_0.
    ValueError for a Gram that min_norm refuses, for other weights and for another c.
    """
    g = checked(gram)
    w = np.array(weights, dtype=np.float64)
    if w.shape != (len(g),) or not (w >= 0).all() or not math.isclose(w.sum(), 1, abs_tol=1e-6):
        raise ValueError(
            f"the weights of {len(g)} gradients are that many numbers ≥ 0 that sum to 1, not {w.tolist()}"
        )
    if not 0 <= c < 1:
        raise ValueError(f"c is the radius of a ball in units of ‖g_0‖, at least 0 and less than 1, not {c}")
    radius = c * _length(g, w)
    if radius == 0:
        return w
    p = _dual(g, w, radius)
    if clip:
        p = np.minimum(p, w)
    length = _length(g, p)
    return w + radius / length * p if length > 0 else w


def _length(gram: Matrix, p: Vector) -> float:
    """‖g_p‖, or 0 where rounding in the Gram or in p hides the difference; the longest gradient is 1 long."""
    square = float(p @ gram @ p)
    without_conflict = float(p @ np.sqrt(np.maximum(gram.diagonal(), 0)))
    noise = max(8 * len(p) * EPSILON * without_conflict**2, (16 * len(p) * EPSILON) ** 2)
    return math.sqrt(square) if square > noise else 0.0


def _dual(gram: Matrix, weights: Vector, radius: float) -> Vector:
    """[K] argmin over the simplex of bᵀp + r ‖g_p‖, with b_k = ⟨g_k, g_0⟩ and r > 0.

    Since r ‖g_p‖ = min_{t > 0} (‖g_p‖² / t + r² t) / 2, p is for the right t the min-norm point of g_k + t g_0, and t is
    right where ‖g_{p(t)}‖ = r t. As ‖g_{p(t)}‖ / t falls with t, there is one such t, and it can be bracketed. On a fixed
    support ‖g_{p(t)}‖² = A + B t² (see _on_support), so the equation is solved exactly once the support is right.
    """
    products = gram @ weights
    square = float(weights @ products)
    low, high = 0.0, 1 / radius  # the longest gradient is 1 long
    t = high
    p = weights
    for _ in range(STEPS):
        p = min_norm(gram + t * (products[:, None] + products) + t * t * square)
        length = _length(gram, p)
        if length == 0:
            break
        if length > radius * t:
            low = t
        else:
            high = t
        a, b = _on_support(gram, products, p > 0)
        new = math.sqrt(a / (radius**2 - b)) if b < radius**2 else math.inf
        if abs(new - t) <= 8 * EPSILON * t:
            break
        t = new if low < new < high else math.sqrt(low * high) if low > 0 else high / 16
    return p


def _on_support(gram: Matrix, products: Vector, support: NDArray[np.bool_]) -> tuple[float, float]:
    """A = squared distance from 0 to the affine hull of a support's gradients, B = squared length of g_0's part along it.

    The min-norm point of that hull moved by t g_0 is its point nearest to 0, less t times that part of g_0; the two are
    orthogonal.
    """
    lengths = np.sqrt(np.maximum(gram.diagonal()[support], 0))
    lengths[lengths == 0] = 1
    size = len(lengths)
    # The unknowns are p_k ‖g_k‖, so that gradients of very different lengths do not hurt.
    system = np.zeros((size + 1, size + 1))
    system[:size, :size] = gram[support][:, support] / lengths[:, None] / lengths
    system[:size, size] = system[size, :size] = lengths.min() / lengths
    right = np.zeros((size + 1, 2))
    right[size, 0] = lengths.min()
    right[:size, 1] = -products[support] / lengths
    nearest, along = np.linalg.lstsq(system, right, rcond=TIE)[0][:size].T
    inner = system[:size, :size]
    return max(float(nearest @ inner @ nearest), 0.0), max(float(along @ inner @ along), 0.0)
