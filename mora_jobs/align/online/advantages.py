"""Advantages of sampled responses from their scores on K objectives: pure functions, one for each order of summing.

Scores [N, K] are calibrated, higher is better, NaN where one is missing; rows come in groups of n consecutive responses to
one prompt. Weights [K] are positive. An advantage of 0 says nothing about a response.

GRPO (arXiv 2402.03300, Sec. 4.1.2; several rewards: 2503.21819)   Â_i = (R_i − mean R) / (sd R + ε),  R_i = Σ_k w_k s_ik
GDPO (arXiv 2601.05242; TRL's normalize_then_sum)                  Z_i = Σ_k w_k (s_ik − mean s_k) / (sd s_k + ε),
                                                                   Â_i = (Z_i − mean Z) / (sd Z + ε)
REINFORCE++ (arXiv 2501.03262)   G_it = R_i − β Σ_{u ≥ t} log(π/π_ref)(y_iu),   Â_it = (G_it − mean G) / sd G

Means and deviations of R and s_k are those of the group, of Z those of all responses of the step, of G those of all tokens
of the step. Deviations have n − 1 below, and ε = 1e-4, as in TRL; REINFORCE++ has n below and a variance of at least 1e-8,
as in OpenRLHF. Its variant with a baseline takes R_i less its group's mean.

Our own reading, where sources are silent: a response that lacks a score of an objective is left out of a sum, which would
not compare with the others; of normalised scores only the missing one is left out, which is 0 like the mean.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

EPSILON = 1e-4
LEAST_VARIANCE = 1e-8


def totals(scores: Floats, weights: Floats) -> Floats:
    """[N] R_i, NaN where a score is missing."""
    return scores @ weights


def sum_then_normalise(scores: Floats, weights: Floats, group: int) -> Floats:
    """[N] advantages of GRPO; 0 for responses that are left out, and in groups without two others."""
    return np.nan_to_num(_normalised(totals(scores, weights).reshape(-1, group), axis=1).reshape(-1))


def normalise_then_sum(scores: Floats, weights: Floats, group: int) -> Floats:
    """[N] Z_i of GDPO before they are normalised over the step; NaN for a response without any score."""
    objectives = scores.shape[1]
    each = _normalised(scores.reshape(-1, group, objectives), axis=1).reshape(-1, objectives)
    summed = np.nan_to_num(each) @ weights
    return np.where(np.isnan(scores).all(axis=1), np.nan, summed)


def whiten(values: Floats) -> Floats:
    """[N] values brought to mean 0 and deviation 1 over the step; 0 where there is none."""
    return np.nan_to_num(_normalised(values, axis=0))


def centred(values: Floats, group: int) -> Floats:
    """[N] values less the mean of their group."""
    grouped = values.reshape(-1, group)
    return (grouped - _mean(grouped, axis=1)).reshape(-1)


def returns(rewards: Tensor, divergence: Tensor, mask: Tensor, beta: float) -> Tensor:
    """[N, T] G_it from rewards [N] and log π − log π_ref of the tokens [N, T]; mask [N, T] is 1 on response tokens."""
    penalty = beta * divergence * mask
    to_come = penalty.flip(1).cumsum(1).flip(1)
    return (rewards[:, None] - to_come) * mask


def normalised_over_tokens(values: Tensor, mask: Tensor, add_up: Callable[[Tensor], Tensor]) -> Tensor:
    """[N, T] values brought to mean 0 and deviation 1 over the tokens of `mask`, 0 elsewhere.

    `add_up` sums a tensor over the workers that share a step.
    """
    mask = mask.to(values.dtype)
    count, total = add_up(torch.stack([mask.sum(), (values * mask).sum()]))
    count = count.clamp(min=1)
    apart = (values - total / count) * mask
    variance = add_up((apart**2).sum()[None])[0] / count
    return apart * variance.clamp(min=LEAST_VARIANCE).rsqrt()


def _normalised(values: Floats, axis: int) -> Floats:
    """(values − mean) / (deviation + ε) along the axis over what is not NaN; NaN where fewer than two are there."""
    apart = values - _mean(values, axis)
    known = (~np.isnan(values)).sum(axis=axis, keepdims=True)
    variance = np.nansum(apart**2, axis=axis, keepdims=True) / np.maximum(known - 1, 1)
    return np.where(known > 1, apart / (np.sqrt(variance) + EPSILON), np.nan)


def _mean(values: Floats, axis: int) -> Floats:
    known = (~np.isnan(values)).sum(axis=axis, keepdims=True)
    mean: Floats = np.nansum(values, axis=axis, keepdims=True) / np.maximum(known, 1)
    return mean
