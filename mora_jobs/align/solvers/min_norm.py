"""The shortest vector in the convex hull of K gradients, from their inner products alone.

    α = argmin_{α ∈ Δ_K} ‖Σ_k α_k g_k‖² = argmin_{α ∈ Δ_K} αᵀ G α,    G_jk = ⟨g_j, g_k⟩

This is the active-set method of Wolfe (1976, "Finding the nearest point in a polytope", Mathematical Programming 11). Like
there, the constraint Σ_k α_k = 1 becomes a term of the matrix: with u ≥ 0 and any λ > 0 the minimiser of

    uᵀ G u + λ² (1 − Σ_k u_k)²

is a multiple of α. The unknowns are z_k = u_k ‖g_k‖ / λ and λ is the length of the shortest gradient, so that gradients of
very different lengths do not hurt [D]. [D] marks our own choices.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

EPSILON = float(np.finfo(np.float64).eps)
TIE = 1e-13
"""Relative differences below this are rounding: rows are equal, gradients dependent, minimisers several [D]."""
NOISE = 1e-6
"""Relative noise that shows which of several minimisers is meant."""


def min_norm(gram: ArrayLike) -> Vector:
    """[K] weights α ≥ 0 with Σα = 1 that minimise αᵀ G α, from the Gram [K, K]; meant for K ≤ 8.

    The Gram is positive semi-definite up to rounding and may be singular. At the minimum every g_k has at least the
    product ‖Σα_j g_j‖² with the shortest vector, and those with a weight have exactly that.

    Several α can give the same shortest vector: dependent gradients, or 0 inside the hull. Then the one with the least
    Σ_k α_k² ‖g_k‖² is taken [D]. It is unique, so the order of the objectives plays no part, and identical gradients share
    their weight equally; it is what α tends to when all gradients carry independent noise in proportion to their length, and
    the noise goes to 0. Gradients that are 0 carry all the weight, in equal parts; who wants to go on without such objectives
    leaves them out before. The unit of the Gram does not matter.

    ValueError for a Gram that is not square, is empty or is not finite.
    """
    g = checked(gram)
    squares = g.diagonal()
    if not (squares > 0).all():
        zero = squares <= 0
        return np.asarray(zero / zero.sum(), dtype=np.float64)
    lengths = np.sqrt(squares)
    inverse = lengths.min() / lengths
    matrix = g / lengths[:, None] / lengths + inverse[:, None] * inverse
    solution = nonnegative_minimum(matrix, inverse)
    slope = np.abs(inverse - matrix @ solution)
    tied = slope <= TIE * (np.abs(matrix) @ solution + inverse)
    # A support that the method found is affinely independent: without ties outside it the minimiser is unique.
    if (tied & (solution == 0)).any():
        alike = (np.abs(g[:, None] - g) <= TIE * lengths[:, None, None] * lengths).all(axis=2)
        if alike.all():
            return np.full(len(g), 1 / len(g))
        solution = _evened(solution, matrix, inverse, tied)
        solution = np.array([solution[others].mean() for others in alike])
    weights: Vector = solution * inverse
    weights /= weights.sum()
    return weights


def checked(gram: ArrayLike) -> Matrix:
    """[K, K] float64 Gram, symmetric, in a unit that makes the longest gradient 1 long (0 stays 0). ValueError as in min_norm."""
    g = np.asarray(gram, dtype=np.float64)
    if g.ndim != 2 or g.shape[0] != g.shape[1] or not g.size:
        raise ValueError(f"a Gram matrix is [K, K], this has shape {g.shape}")
    if not np.isfinite(g).all():
        raise ValueError("the Gram matrix is not finite: a gradient has NaN or infinite entries")
    largest = g.diagonal().max()
    if largest > 0:
        g = g / largest
    return 0.5 * (g + g.T)


def nonnegative_minimum(matrix: Matrix, target: Vector) -> Vector:
    """[n] argmin over z ≥ 0 of ½ zᵀ Q z − qᵀ z, for Q [n, n] positive semi-definite and q [n] in its range.

    Coordinates enter the support one at a time, steepest first. A support counts only if it is lower than the one before, so
    that none comes twice and rounding cannot make the search run for ever.
    """
    size = len(target)
    solution, slope, lowest = np.zeros(size), target, 0.0
    support: list[int] = []
    refused: list[int] = []
    magnitude = np.abs(matrix)
    while True:
        noise = 4 * size * EPSILON * (magnitude @ solution + np.abs(target))
        slope = np.where(slope > noise, slope, 0)
        slope[support + refused] = 0
        steepest = int(slope.argmax())
        if slope[steepest] == 0:
            return solution
        entered = _enter(matrix, target, solution, [*support, steepest])
        product = matrix @ entered
        value = float(entered @ (0.5 * product - target))
        if value < lowest:
            solution, lowest, slope = entered, value, target - product
            support, refused = entered.nonzero()[0].tolist(), []
        else:
            refused.append(steepest)


def _enter(matrix: Matrix, target: Vector, start: Vector, support: list[int], dependent: bool = False) -> Vector:
    """[n] the minimiser on a support, after coordinates that would turn negative have left it, first come first.

    A support may be `dependent`: then the minimiser of least norm. Else the answer is `start` where it is.
    """
    current = start[support]
    while support:
        system = matrix[support][:, support], target[support]
        try:
            wanted = np.linalg.lstsq(*system, rcond=TIE)[0] if dependent else np.linalg.solve(*system)
        except np.linalg.LinAlgError:
            return start
        if wanted.min() > 0:
            solution = np.zeros(len(start))
            solution[support] = wanted
            return solution
        falling = wanted <= 0
        steps = np.full(len(support), np.inf)
        steps[falling] = current[falling] / (current[falling] - wanted[falling] + np.finfo(np.float64).tiny)
        first = int(steps.argmin())
        current = np.delete(current + steps[first] * (wanted - current), first)
        support = [k for i, k in enumerate(support) if i != first]
    return start


def _evened(solution: Vector, matrix: Matrix, target: Vector, tied: NDArray[np.bool_]) -> Vector:
    """[K] the z ≥ 0 of least norm that has the same shortest vector as `solution`; only tied objectives get a weight."""
    matrix, target = matrix[tied][:, tied], target[tied]
    # With a little noise the minimiser is unique, and shows which weights are not 0 in the limit without noise.
    noisy = nonnegative_minimum(matrix + NOISE * np.eye(len(target)), target)
    limit = _enter(matrix, target, noisy, noisy.nonzero()[0].tolist(), dependent=True)
    evened = np.zeros(len(solution))
    evened[tied] = np.where(limit > 8 * EPSILON * limit.max(), limit, 0)
    return evened
