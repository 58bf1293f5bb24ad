"""What the three kinds of job share: reading prompts, sampling rollouts, scoring them. Each step is a table that resumes."""
