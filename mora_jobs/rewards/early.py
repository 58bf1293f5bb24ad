"""A wrong callable shows before hours of sampling, not after them."""

import os
from collections.abc import Sequence

import ray

from mora_jobs import api
from mora_jobs.engines.cluster import connect
from mora_jobs.errors import UserError
from mora_jobs.rewards.load import make


def check_callables(rewards: Sequence[api.Reward], import_paths: Sequence[str]) -> None:
    """Import the callables of `rewards` in a worker of the cluster, as scoring will. Raises UserError."""
    ours = [reward for reward in rewards if reward.python is not None]
    if not ours:
        return
    connect()
    task = ray.remote(_mistake).options(num_cpus=0.01, max_retries=3)
    mistake = ray.get(task.remote(ours, [os.path.abspath(path) for path in import_paths]))
    if mistake is not None:
        raise mistake


def _mistake(rewards: list[api.Reward], import_paths: list[str]) -> UserError | None:
    try:
        for reward in rewards:
            make(reward, import_paths).close()
    except UserError as error:
        return error
    return None
