"""Isolation where the truth is known, and what analysing 100,000 prompts costs.  Needs numpy and moocore only.

    python benchmarks/isolation.py [--prompts 100000]

The world: a third of the prompts can earn one dimension of three, a third all three, a third none; the scores of a
prompt's rollouts are normal around its means with standard deviation 0.12, clipped to [0, 1].
"""

import argparse
import math
import resource
import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mora_jobs.estimators.curves import Curves, average
from mora_jobs.estimators.diversity import normalised_hypervolume
from mora_jobs.estimators.reach import k_grid
from mora_jobs.rollout.isolation import PromptClass, Thresholds, classify
from mora_jobs.rollout.sensitivity import SubsetMeasures, sensitivity, stability

DEFAULTS = Thresholds("Both", 0.7, 0.15, 0.6, 0.1, 0.06)
NAMES = ["helpful", "harmless", "truthful"]
MEANS = np.array([[0.65, 0.3, 0.3], [0.62, 0.62, 0.62], [0.35, 0.35, 0.35]])


def world(prompts: int, samples: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(kind [P], 0 = truly single-reward; u [P, N, 3])."""
    rng = np.random.default_rng(seed)
    kind = np.arange(prompts) % 3
    mean = np.clip(MEANS[kind] + 0.05 * rng.standard_normal((prompts, 3)), 0.05, 0.95)
    return kind, np.clip(mean[:, None] + 0.12 * rng.standard_normal((prompts, samples, 3)), 0, 1)


def tell_plateau_tolerances_apart(prompts: int = 4000) -> None:
    print("|  N | plateauTolerance | marked | recall | precision | stays on the other half | by chance |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for samples in (16, 64):
        kind, u = world(prompts, samples)
        subsets = SubsetMeasures.of(u, DEFAULTS.joint_level)
        assert subsets.halves is not None
        for tolerance in (0.02, 0.04, 0.06, 0.1, math.inf):
            thresholds = replace(DEFAULTS, plateau_tolerance=tolerance)
            single = classify(subsets.full, thresholds).is_class(PromptClass.SINGLE_REWARD)
            half = stability(*subsets.halves, thresholds)
            shares = single[kind == 0].mean(), (kind[single] == 0).mean(), half["same"]["value"], half["base"]["value"]
            print(f"| {samples} | {tolerance} | {single.sum()} | " + " | ".join(f"{x:.2f}" for x in shares) + " |")


def time_analysis(prompts: int) -> None:
    _, u = world(prompts, 16)
    started = time.process_time()

    def lap(label: str) -> None:
        nonlocal started
        print(f"{time.process_time() - started:6.2f} CPU s  {label}")
        started = time.process_time()

    curves = Curves.of(u, DEFAULTS.joint_level, k_grid(16))
    lap("curves of every prompt")
    average(curves, NAMES)
    lap("their means, 1000 resamples")
    subsets = SubsetMeasures.of(u, DEFAULTS.joint_level)
    lap("measures on N, N/2, N/4 and both halves")
    sensitivity(subsets, DEFAULTS, NAMES)
    lap("histograms of all thresholds, stability, 1000 resamples")
    normalised_hypervolume(u)
    lap("hypervolume of every prompt")
    print(
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB for {prompts} × 16 × 3 scores"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100_000)
    arguments = parser.parse_args()
    tell_plateau_tolerances_apart()
    time_analysis(arguments.prompts)
