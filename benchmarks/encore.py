"""ENCORE (arXiv 2503.20995) and its baselines on pairs whose rules have a known noise.  Needs numpy, scipy, scikit-learn.

    python benchmarks/encore.py [--seeds 40]

Ten rules rate both answers of each pair on five levels; 2000 pairs are measured, 2000 others are labelled for the learned
gate, a quarter of them wrongly. Two worlds:

flat     one answer is good and one bad. A rule sees which with an error of 0.3 and says 1 or 5, but with a chance that is
         the rule's own (uniform in [0, 1]) it says any level. Noise flattens the histogram, as ENCORE assumes.
equal    answers have a quality, a normal variable. A rule sees √(1−ν)·quality + √ν·noise, ν uniform in [0, 1], and says in
         which fifth of all answers that lies. Every rule has the same histogram: entropy knows nothing of the noise.

The noise of rules, the error and the labels are our own choice: the paper's data are ratings by a language model.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from mora_jobs import api
from mora_jobs.rewards.aggregation.adapter import top
from mora_jobs.rewards.aggregation.encore import encore, entropies, least_entropy
from mora_jobs.rewards.aggregation.learned import agreement, fit
from mora_jobs.rewards.aggregation.plain import random

Floats = NDArray[np.float64]
World = Callable[[np.random.Generator, Floats], Floats]
PAIRS, RULES, CHOSEN, LEVELS = 2000, 10, 5, [1.0, 2.0, 3.0, 4.0, 5.0]
TEMPERATURES = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 1e6)
LABELS = (100, 500, 1000, 2000)
WRONG_LABELS = 0.25
DRAWS = 50  # of random weights
REWARDS = [api.Reward(name=f"r{k}", levels=LEVELS, python=api.PythonReward(callable="m:f")) for k in range(RULES)]
NAMES = [reward.name for reward in REWARDS]


def flat(rng: np.random.Generator, noise: Floats) -> Floats:
    """Ratings [2 · PAIRS, 2, RULES], the better answer first."""
    shape = (2 * PAIRS, 2, RULES)
    good = np.broadcast_to(np.array([True, False])[None, :, None], shape)
    seen = good ^ (rng.uniform(size=shape) < 0.3)
    rated = np.where(rng.uniform(size=shape) < noise, rng.integers(1, 6, shape), np.where(seen, 5, 1))
    return np.asarray(rated, dtype=np.float64)


def equal(rng: np.random.Generator, noise: Floats) -> Floats:
    """As `flat`."""
    quality = np.sort(rng.normal(size=(2 * PAIRS, 2)), axis=1)[:, ::-1, None]
    seen = np.sqrt(1 - noise) * quality + np.sqrt(noise) * rng.normal(size=(2 * PAIRS, 2, RULES))
    return np.digitize(norm.cdf(seen), [0.2, 0.4, 0.6, 0.8]) + 1.0


def figures(world: World, seed: int) -> dict[str, float]:
    """Pearson's correlation of entropy and accuracy over the rules, and the accuracy of each method, for one draw."""
    rng = np.random.default_rng(seed)
    ratings = world(rng, rng.uniform(size=RULES))
    measured, labelled = ratings[:PAIRS], ratings[PAIRS:]
    gaps, told = (measured[:, 0] - measured[:, 1]) / 4, (labelled[:, 0] - labelled[:, 1]) / 4
    told *= np.where(rng.uniform(size=PAIRS) < WRONG_LABELS, -1, 1)[:, None]

    entropy = entropies(REWARDS, {name: measured[:, :, k] for k, name in enumerate(NAMES)}, bins=5)
    nats = np.array([entropy[name] for name in NAMES], dtype=float)
    of_rules = agreement(gaps).mean(axis=0)

    def accuracy(weights: dict[str, float] | Floats) -> float:
        w = np.array([weights[name] for name in NAMES]) if isinstance(weights, dict) else weights
        return float(agreement(gaps @ w).mean())

    found = {
        "Pearson": float(np.corrcoef(nats, of_rules)[0, 1]),
        "entropy from": nats.min(),
        "entropy to": nats.max(),
        "rule accuracy from": of_rules.min(),
        "rule accuracy to": of_rules.max(),
    }
    found |= {f"ENCORE, τ = {tau:g}": accuracy(encore(entropy, tau)) for tau in TEMPERATURES}
    found |= {f"Learned, {count} labels": accuracy(fit(told[:count])) for count in LABELS}
    found["Uniform"] = accuracy(np.full(RULES, 1 / RULES))
    found["Random"] = float(np.mean([accuracy(random(NAMES, 1000 * seed + draw)) for draw in range(DRAWS)]))
    found["Single, of least entropy"] = accuracy(least_entropy(entropy))
    found["Uniform over the 5 of least entropy"] = accuracy(top(-nats[None], CHOSEN)[0] / CHOSEN)
    chosen = top(np.abs(gaps), CHOSEN)
    found["RuleAdapter, told the 5 widest gaps"] = float(agreement((gaps * chosen).sum(axis=1)).mean())
    return found


def interval(values: Floats) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval (Student's t over seeds)."""
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def table(seeds: int) -> str:
    """Markdown: accuracy of each method, and what ENCORE at its default τ = 2 has over it, paired by seed."""
    worlds = {"flat": flat, "equal": equal}
    drawn = {name: [figures(world, seed) for seed in range(seeds)] for name, world in worlds.items()}
    columns = {name: {key: np.array([each[key] for each in rows]) for key in rows[0]} for name, rows in drawn.items()}

    def cell(values: Floats, sign: str = "") -> str:
        mean, half = interval(values)
        return f"{mean:{sign}.3f} ± {half:.3f}"

    lines = [
        "| | noise flattens: accuracy | ENCORE − this | equal histograms: accuracy | ENCORE − this |",
        "|---|---:|---:|---:|---:|",
    ]
    methods = [key for key in columns["flat"] if not key.startswith(("Pearson", "entropy", "rule accuracy"))]
    for key in methods:
        cells = []
        for found in columns.values():
            cells += [cell(found[key]), cell(found["ENCORE, τ = 2"] - found[key], "+")]
        lines.append(f"| {key.replace('1e+06', '10⁶ (uniform but for ties)')} | " + " | ".join(cells) + " |")
    facts = []
    for name, found in columns.items():
        span = {key: found[key].mean() for key in found if key.startswith(("entropy", "rule"))}
        facts.append(
            f"{name}: Pearson of entropy and accuracy {cell(found['Pearson'])}; entropies {span['entropy from']:.3f} to "
            f"{span['entropy to']:.3f} nats; accuracies of rules {span['rule accuracy from']:.2f} to {span['rule accuracy to']:.2f}"
        )
    return "\n".join([*facts, "", *lines])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    arguments = parser.parse_args()
    began = time.monotonic()
    print(table(arguments.seeds))
    print(f"\n{arguments.seeds} seeds, {time.monotonic() - began:.0f} s")
