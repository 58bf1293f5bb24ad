"""What the three kinds of job share: reading prompts, sampling rollouts, scoring them. Each step is a table that resumes."""

from mora_jobs.generation.prompts import Prompt, digest_prompts, read_prompts
from mora_jobs.generation.rollouts import rollout_table, sample
from mora_jobs.generation.scores import score, score_table

__all__ = ["Prompt", "digest_prompts", "read_prompts", "rollout_table", "sample", "score", "score_table"]
