"""Online trainings of a tiny model: TRL's advantages, resuming, workers, weights, and the reference."""

import contextlib
import json
import os
import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
from online_here import REPLACED, SCORES, online_task, without_ray
from trained import Kill, adapter
from trained import run as train_and_read

from mora_jobs.align.notes import Desire
from mora_jobs.align.online import rollouts
from mora_jobs.align.online.grpo import GRPO
from mora_jobs.align.online.reference import Start
from mora_jobs.align.policy import load_policy
from mora_jobs.align.task import Task
from mora_jobs.align.worker import train
from mora_jobs.api.training import LoRA
from mora_jobs.errors import UserError
from mora_jobs.models import fetch


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch):
    for name, value in REPLACED.items():
        monkeypatch.setattr(rollouts, name, value)


@pytest.fixture
def make(tmp_path, tiny_model):
    return lambda name, method, *args, **spec: online_task(tmp_path / name, tiny_model, method, *args, **spec)


def trainer(steps: int, batch: int = 4, accumulation: int = 2, **more) -> dict:
    return {
        "precision": "FP32",
        "perDeviceBatchSize": batch,
        "gradientAccumulation": accumulation,
        "maxSteps": steps,
        "learningRate": 0.01,
        **more,
    }


def run(task: Task, callbacks=(), report=lambda note: Desire.CONTINUE) -> list[dict[str, float]]:
    """Train; the log of the steps without what a clock says."""
    rows = train_and_read(task, callbacks, report)
    return [{name: value for name, value in row.items() if "second" not in name} for row in rows]


@pytest.mark.parametrize(
    ("weights", "order"),
    [((1.0,), "SumThenNormalise"), ((0.7, 0.3), "SumThenNormalise"), ((0.7, 0.3), "NormaliseThenSum")],
)
def test_advantages_are_those_of_trl_where_no_score_is_missing(make, monkeypatch, weights, order):
    seen = []
    whole, ours = GRPO.__init__, GRPO.advantages

    def with_trls_settings(self, *args, **kwargs):
        whole(self, *args, **kwargs)
        self.reward_weights = torch.tensor(weights)
        if order == "NormaliseThenSum":
            self.multi_objective_aggregation = "normalize_then_sum"

    def both(self, batch, scores, here):
        trls = batch["advantages"]
        seen.append((trls, ours(self, batch, scores, here)))
        return seen[-1][1]

    monkeypatch.setattr(GRPO, "__init__", with_trls_settings)
    monkeypatch.setattr(GRPO, "advantages", both)
    run(make("job", {"name": "GRPO", "grpo": {"order": order}}, weights, trainer=trainer(2)))
    for trls, found in seen:
        assert found.abs().max() > 0.5
        assert torch.allclose(found, trls, atol=2e-4)


METHODS = {
    "GRPO": {"name": "GRPO"},
    "GDPO": {"name": "GRPO", "grpo": {"order": "NormaliseThenSum"}, "online": {"tokenLoss": "DAPO"}},
    "REINFORCE++": {"name": "REINFORCEPlusPlus"},
    "iterations": {"name": "GRPO", "online": {"iterations": 2, "tokenLoss": "DrGRPO"}},
}


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_training_is_an_unbroken_one(make, name):
    settings = {"trainer": trainer(5), "checkpoint": {"intervalSteps": 2, "keepLast": 1}}
    unbroken = make("unbroken", METHODS[name], (0.4, 0.3, 0.3), **settings)
    log = run(unbroken)
    assert [row["step"] for row in log] == [1, 2, 3, 4, 5]
    broken = make("broken", METHODS[name], (0.4, 0.3, 0.3), **settings)
    with pytest.raises(KeyboardInterrupt):
        run(broken, [Kill(3)])
    assert run(broken) == log
    first, second = adapter(unbroken), adapter(broken)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert any(value.abs().max() > 0 for key, value in first.items() if "lora_B" in key)


def test_a_training_that_is_asked_to_stop_saves_first(make):
    task = make("job", METHODS["GRPO"], trainer=trainer(4))
    assert run(task, report=lambda note: Desire.STOP if note.completed == 2 else Desire.CONTINUE) == []
    assert task.store.exists("checkpoints/step-00000002/_complete.json")
    assert [row["step"] for row in run(task)] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["GRPO", "REINFORCE++"])
def test_an_objective_without_weight_changes_nothing(make, name):
    one = make("one", METHODS[name], (1.0,), trainer=trainer(2))
    two = make("two", METHODS[name], (1.0, 0.0), trainer=trainer(2))
    assert run(one) == run(two)
    first, second = adapter(one), adapter(two)
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_share_of_missing_scores_is_logged(make):
    log = run(make("job", METHODS["GDPO"], (0.4, 0.3, 0.3), trainer=trainer(2)))
    assert any(0 < row.get("missing_share", 0) < 1 for row in log)
    assert all(np.isfinite(row["loss"]) for row in log)


@pytest.mark.parametrize("name", ["GRPO", "REINFORCE++"])
def test_what_is_rewarded_becomes_more_likely(make, monkeypatch, name):
    """The share of letters from a to m, with hardly any pull to the reference."""
    monkeypatch.setitem(
        SCORES, "helpful", lambda text: sum("a" <= letter <= "m" for letter in text) / max(1, len(text))
    )
    steps = trainer(16, 32, 1, warmupRatio=0.0)
    log = run(make("job", METHODS[name] | {"beta": 0.001}, (1.0,), trainer=steps))
    rewards = [row["reward/helpful"] for row in log]
    assert np.mean(rewards[-4:]) > np.mean(rewards[:4]) + 0.05


def test_prompts_that_leave_no_room_are_named(make):
    with pytest.raises(UserError, match="none of 3 prompts leaves room for 6 tokens in 16"):
        run(make("job", METHODS["GRPO"], trainer=trainer(2, maxLength=16)))


def test_the_reference_is_the_start_with_what_was_learned_before(make, tiny_model, tmp_path):
    earlier = make("earlier", METHODS["GRPO"], trainer=trainer(2))
    run(earlier)
    torch.manual_seed(0)
    local, lora = fetch(earlier.model), LoRA(rank=4)
    policy = load_policy(local, earlier.store.local("policy"), lora, bf16=False)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        before = policy(input_ids=ids).logits
        for name, parameter in policy.named_parameters():
            if parameter.requires_grad and "lora_B" in name:
                parameter.normal_()
        moved = policy(input_ids=ids).logits
        assert torch.allclose(Start(policy)(input_ids=ids).logits, before, atol=1e-5)
        assert torch.equal(policy(input_ids=ids).logits, moved)
        with policy.disable_adapter():
            assert not torch.allclose(policy(input_ids=ids).logits, before, atol=1e-3)
    later = make("later", METHODS["GRPO"], frozen=(earlier.policy_uri,), trainer=trainer(2))
    log = run(later)
    assert log[0]["kl"] == pytest.approx(0, abs=1e-6)


def member(rank: int, world: int, port: int, tasks: list[Task]) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    without_ray()
    dist.init_process_group("gloo")
    for task in tasks:
        train(task, lambda note: Desire.CONTINUE)
    dist.destroy_process_group()


def test_two_workers_that_accumulate_twice_are_one_that_accumulates_four_times(make):
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    shared, alone = {}, {}
    for name in ("GRPO", "GDPO", "REINFORCE++"):
        two = trainer(2, 2, 2, workersPerNode=2)
        shared[name] = make(f"two-{name}", METHODS[name], (0.4, 0.3, 0.3), trainer=two)
        alone[name] = make(f"one-{name}", METHODS[name], (0.4, 0.3, 0.3), trainer=trainer(2, 2, 4))
        run(alone[name])
    torch.multiprocessing.spawn(member, (2, port, list(shared.values())), nprocs=2)
    for name, one in alone.items():
        expected, found = adapter(one), adapter(shared[name])
        for key, value in expected.items():
            assert (value - found[key]).abs().max() < 1e-4, (name, key)
        logs = [json.loads(task.store.read("log.json")) for task in (one, shared[name])]
        for a, b in zip(*logs, strict=True):
            for figure in ("reward/helpful", "advantage_spread", "kl", "response_tokens"):
                assert b[figure] == pytest.approx(a[figure], rel=1e-3, abs=1e-5), (name, figure)
