"""The same training on one worker and on several: two gloo processes, sliced (FSDP) or not (DDP)."""

import contextlib
import json
import os
import socket

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from trained import Kill

from mora_jobs.align.notes import Desire
from mora_jobs.align.task import Task
from mora_jobs.align.worker import train

STEPS = 4


def member(rank: int, world: int, port: int, tasks: list[Task], killed: list[str]) -> None:
    """One worker. Trainings in `killed` are cut off at their third step and started again."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for task in tasks:
        if task.root in killed:
            with contextlib.suppress(KeyboardInterrupt):
                train(task, lambda note: Desire.CONTINUE, [Kill(3)])
            dist.barrier()
            assert task.store.exists("checkpoints/step-00000002/optimizer/.metadata")
        train(task, lambda note: Desire.CONTINUE)
    dist.destroy_process_group()


def settings(strategy: str, accumulation: int, **method: object) -> dict[str, object]:
    return {
        "method": {"name": "DPO", **method},
        "trainer": {
            "precision": "FP32", "perDeviceBatchSize": 1, "gradientAccumulation": accumulation, "maxSteps": STEPS,
            "learningRate": 0.001, "strategy": strategy,
        },
        "checkpoint": {"intervalSteps": 2},
    }  # fmt: skip


def policy(task: Task) -> dict[str, torch.Tensor]:
    folder = task.store.local("policy")
    return load_file(folder / ("adapter_model.safetensors" if task.spec.lora else "model.safetensors"))


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_two_workers_that_accumulate_twice_are_one_that_accumulates_four_times(make_task, port):
    full = {"lora": None, "output": {"uri": "file:///unused", "save": "Full"}}
    tasks = {
        "ddp": make_task("ddp", **settings("DDP", 2)),
        "fsdp": make_task("fsdp", **settings("FSDP", 2)),
        "fsdp-full": make_task("fsdp-full", **settings("FSDP", 2), **full),
    }
    torch.multiprocessing.spawn(member, (2, port, list(tasks.values()), [tasks["fsdp"].root]), nprocs=2)
    alone = make_task("alone", **settings("DDP", 4))
    alone_full = make_task("alone-full", **settings("DDP", 4), **full)
    for task in (alone, alone_full):
        train(task, lambda note: Desire.CONTINUE)

    for name, task in tasks.items():
        one = alone_full if name == "fsdp-full" else alone
        expected, found = policy(one), policy(task)
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            # FSDP reduces every micro-batch: other roundings, which Adam's first steps enlarge.
            assert (value - found[key]).abs().max() < (1e-5 if name == "ddp" else 1e-3), (name, key)
        logs = [json.loads(each.store.read("log.json")) for each in (one, task)]
        assert [row["step"] for row in logs[1]] == list(range(1, STEPS + 1))
        for a, b in zip(*logs, strict=True):
            for figure in ("loss", "loss/helpful", "loss/harmless", "grad_norm", "margin"):
                assert b[figure] == pytest.approx(a[figure], rel=1e-4, abs=1e-4), (name, figure)


BALANCED = ["MGDA", "MGDANormalised", "MGDADecoupled", "GroupDRO", "CAGrad", "RACO"]


def test_methods_that_balance_choose_the_same_coefficients_however_a_step_is_dealt(make_task, port):
    """The gradients are brought together before the objectives are weighed, not after."""

    def signs(chance):
        return [1, chance.choice([-1, -1, 1, 0])]

    variants = {
        f"{name}-{gram}-{strategy}": (name, gram, strategy)
        for name in BALANCED
        for gram, strategy in (("Exact", "DDP"), ("Margin", "DDP"), ("Exact", "FSDP"))
        if name != "GroupDRO" or gram == "Exact"
    }
    shared, alone = {}, {}
    for key, (name, gram, strategy) in variants.items():
        shared[key] = make_task(f"two-{key}", signs=signs, **settings(strategy, 2, name=name, gram=gram))
        if strategy == "DDP":
            alone[key] = make_task(f"one-{key}", signs=signs, **settings("DDP", 4, name=name, gram=gram))
            train(alone[key], lambda note: Desire.CONTINUE)
    torch.multiprocessing.spawn(member, (2, port, list(shared.values()), []), nprocs=2)
    for key, (_, _, strategy) in variants.items():
        one, two = alone[key.replace("FSDP", "DDP")], shared[key]
        expected, found = policy(one), policy(two)
        for name, value in expected.items():
            assert (value - found[name]).abs().max() < (1e-5 if strategy == "DDP" else 1e-4), (key, name)
        logs = [json.loads(each.store.read("log.json")) for each in (one, two)]
        for a, b in zip(*logs, strict=True):
            for figure in ("coefficient/helpful", "coefficient/harmless", "descent", "loss"):
                if figure in a or figure in b:
                    assert b[figure] == pytest.approx(a[figure], rel=1e-5, abs=1e-5), (key, figure)
    assert len({json.loads(task.store.read("log.json"))[-1]["coefficient/helpful"] for task in alone.values()}) > 4
