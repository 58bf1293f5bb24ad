"""Aggregation: several calibrated rewards become one overall score. One small file per family of methods.

`mora_jobs.rollout.weighting` chooses the method and writes the weights; whoever needs them reads them by `weights_for`.
"""

from mora_jobs.rewards.aggregation.weights import PromptWeights, Weighting, overall, weights_for

__all__ = ["PromptWeights", "Weighting", "overall", "weights_for"]
