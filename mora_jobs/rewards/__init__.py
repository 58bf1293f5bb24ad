"""Reward functions: from (prompt, response) to a raw number per dimension, its calibration, and one overall score."""
