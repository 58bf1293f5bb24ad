"""The columns of the tables that jobs hand to each other."""

import pyarrow as pa

SAMPLE = pa.struct([("text", pa.string()), ("tokens", pa.int32()), ("finish", pa.string())])

# One row per prompt, holding the list of its rollouts: a prompt is committed whole or not at all.
ROLLOUTS = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("fields", pa.string()),
        ("seed", pa.int64()),
        ("prompt_tokens", pa.int32()),
        ("samples", pa.list_(SAMPLE)),
        ("error", pa.string()),
    ]
)

# What a RolloutJob found out about each prompt; the lists follow the order of spec.rewards.
ANALYSIS = pa.schema(
    [
        ("id", pa.string()),
        ("class", pa.string()),
        ("dimension", pa.string()),
        ("active", pa.list_(pa.string())),
        ("reach", pa.list_(pa.float64())),
        ("spread", pa.list_(pa.float64())),
        ("joint", pa.float64()),
        ("balance", pa.float64()),
        ("hypervolume", pa.float64()),
        ("complete", pa.int64()),
    ]
)
SINGLE_REWARD = "SingleReward"  # the class whose prompts are rewritten

# Every prompt that a RewriteJob passes on.
FINAL_PROMPTS = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("original", pa.string()),
        ("rewritten", pa.bool_()),
        ("dimension", pa.string()),
    ]
)


def scores_schema(rewards: list[str]) -> pa.Schema:
    """One row per prompt; a column for each reward with a raw score per rollout, null where there is none."""
    return pa.schema([("id", pa.string()), *((name, pa.list_(pa.float64())) for name in rewards)])
