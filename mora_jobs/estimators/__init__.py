"""Unbiased best-of-k estimators, spread and diversity of a prompt's rollouts, bootstrap intervals over prompts."""
