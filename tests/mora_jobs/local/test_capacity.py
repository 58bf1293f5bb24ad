"""Which jobs may run beside each other."""

import pytest

from mora_jobs import api
from mora_jobs.local.capacity import Capacity, check_fits, demand, may_start

GIB = 2**30


def rollout(name: str = "one", **spec) -> api.RolloutJob:
    return api.RolloutJob.model_validate(
        {
            "metadata": {"name": name},
            "spec": {
                "model": {"uri": "file:///m"},
                "prompts": {"uri": "file:///p"},
                "rewards": [{"name": "a", "http": {"url": "http://localhost:1"}}],
                "output": {"uri": f"file:///{name}"},
            }
            | spec,
        }
    )


ENGINE = {"tensorParallelSize": 2, "pipelineParallelSize": 2}


@pytest.mark.parametrize(
    ("spec", "there", "want"),
    [
        ({}, Capacity(8), Capacity(2)),
        ({"replicas": 3}, Capacity(8), Capacity(3)),
        ({}, Capacity(8, 4), Capacity(1, 1)),
        ({"replicas": 2, "engine": ENGINE}, Capacity(8, 8), Capacity(2, 8)),
        ({"autoscaling": {"maxReplicas": 3}}, Capacity(8, 4), Capacity(3, 3)),
        ({"engine": ENGINE}, Capacity(8), Capacity(2)),
    ],
)
def test_what_a_rollout_job_takes(spec, there, want):
    assert demand(rollout(**spec), there) == want


@pytest.mark.parametrize(
    ("running", "there", "free", "want"),
    [
        ([], Capacity(1), 0, True),
        ([rollout()], Capacity(4), 8 * GIB, True),
        ([rollout()], Capacity(2), 8 * GIB, False),
        ([rollout()], Capacity(4), 2 * GIB, False),
        ([rollout()], Capacity(16, 2), 8 * GIB, True),
        ([rollout()], Capacity(16, 1), 8 * GIB, False),
        ([rollout("a"), rollout("b")], Capacity(4), 99 * GIB, False),
    ],
)
def test_a_job_starts_beside_others_only_where_there_is_room_and_alone_always(running, there, free, want):
    assert may_start(rollout("new"), running, there, free) is want


def test_more_gpus_than_there_are_would_be_waited_for_in_vain():
    (fault,) = check_fits([rollout(), rollout("big", engine={"tensorParallelSize": 4})], Capacity(8, 2))
    assert str(fault).startswith("RolloutJob/big: needs 4 GPUs, and this machine has 2")
    assert check_fits([rollout("big", engine={"tensorParallelSize": 4})], Capacity(8)) == []
