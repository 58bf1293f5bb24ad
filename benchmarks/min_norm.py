"""What the exact min-norm solver costs, and how far 250 Frank-Wolfe steps are off.  Needs numpy only.

    python benchmarks/min_norm.py [--grams 200]

For each K: median microseconds for one Gram of K conflicting gradients, their ratio, and the worst excess of ‖Σα_k g_k‖² over the
optimum, relative to it. The optimum is the best of all 2^K − 1 supports.

The world: normal gradients in 12 dimensions less half of their mean, with lengths that differ by a factor of up to 9. The mean
cosine of two of them is -0.59 for K = 2 and -0.1 for K = 8.
"""

import argparse
import itertools
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mora_jobs.align.solvers.min_norm import min_norm

Array = NDArray[np.float64]
STEPS = 250


def world(objectives: int, grams: int) -> list[Array]:
    """Grams [K, K] of conflicting gradients."""
    rng = np.random.default_rng(objectives)
    g = rng.standard_normal((grams, objectives, 12))
    g = (g - 0.5 * g.mean(axis=1, keepdims=True)) * 3 ** rng.uniform(-1, 1, (grams, objectives, 1))
    return list(g @ g.swapaxes(1, 2))


def frank_wolfe(gram: Array) -> Array:
    """[K] weights after STEPS steps with exact line search, from uniform."""
    alpha = np.full(len(gram), 1 / len(gram))
    for _ in range(STEPS):
        products = gram @ alpha
        corner = int(products.argmin())
        square, inner = alpha @ products, products[corner]
        curvature = square - 2 * inner + gram[corner, corner]
        if square <= inner or curvature <= 0:
            break
        step = min((square - inner) / curvature, 1.0)
        alpha *= 1 - step
        alpha[corner] += step
    return alpha


def best_support(gram: Array) -> Array:
    """[K] the best feasible solution of the 2^K − 1 KKT systems."""
    best, lowest = np.zeros(len(gram)), np.inf
    for chosen in itertools.product([False, True], repeat=len(gram)):
        support = np.flatnonzero(chosen)
        if not len(support):
            continue
        solution = np.linalg.solve(gram[np.ix_(support, support)], np.ones(len(support)))
        if solution.min() >= 0 and 1 / solution.sum() < lowest:
            lowest = 1 / solution.sum()
            best = np.zeros(len(gram))
            best[support] = solution / solution.sum()
    return best


def measure(solver: Callable[[Array], Array], grams: list[Array], lowest: list[float]) -> tuple[float, float]:
    """(median microseconds, worst relative excess)."""
    seconds, excess = [], []
    for gram, least in zip(grams, lowest, strict=True):
        started = time.perf_counter()
        alpha = solver(gram)
        seconds.append(time.perf_counter() - started)
        excess.append(square(gram, alpha) / least - 1)
    return 1e6 * float(np.median(seconds)), max(excess)


def square(gram: Array, alpha: Array) -> float:
    """αᵀ G α in extended precision, so that its own rounding is not taken for an excess."""
    return float(alpha @ gram.astype(np.longdouble) @ alpha)


def main(count: int) -> None:
    print(f"| K | active set, µs | {STEPS} Frank-Wolfe steps, µs | ratio | worst excess: active set | Frank-Wolfe |")
    print("|---:|---:|---:|---:|---:|---:|")
    for objectives in range(2, 9):
        grams = world(objectives, count)
        lowest = [square(gram, best_support(gram)) for gram in grams]
        exact, exact_excess = measure(min_norm, grams, lowest)
        steps, steps_excess = measure(frank_wolfe, grams, lowest)
        figures = f"{exact:.0f} | {steps:.0f} | {exact / steps:.2f} | {exact_excess:.1e} | {steps_excess:.1e}"
        print(f"| {objectives} | {figures} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grams", type=int, default=200)
    main(parser.parse_args().grams)
