"""MOPO in real trainings: what is cloned, the first loss, what it converges to, refreshes, resuming, bounds that cannot be met."""

import math

import numpy as np
import pytest
import torch
from trained import Kill, adapter, run

from mora_jobs import api
from mora_jobs.align import methods
from mora_jobs.align.dataset import PairSource
from mora_jobs.align.examples import read_examples
from mora_jobs.align.heldout import held_out
from mora_jobs.align.methods import Answers
from mora_jobs.align.pools import rollout_sources
from mora_jobs.align.reference import REFERENCE, fill
from mora_jobs.align.tokens import Example
from mora_jobs.api.methods import Method as MethodSpec
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError
from mora_jobs.models import fetch, load_tokenizer

STEPS = {"precision": "FP32", "perDeviceBatchSize": 20, "maxSteps": 2, "learningRate": 0.01}


def mopo(**settings) -> dict[str, object]:
    return {"name": "MOPO", "mopo": settings}


def prepared(scores: list[list[float]], primary: str = "helpful", **settings):
    """MOPO on one prompt whose candidates have these scores, equally likely under the reference."""
    examples = [
        Example(str(n), [1], [[2]], (1,), (math.log(1 / len(scores)),), "q", (tuple(own),), n)
        for n, own in enumerate(scores)
    ]
    spec = MethodSpec.model_validate(mopo(**settings))
    method = methods.make(spec, ("helpful", "harmless"), (0.5, 0.5), primary)
    method.prepare(examples)
    return method


def losses(method, policy: torch.Tensor) -> torch.Tensor:
    count = len(policy)
    return method.losses(
        Answers(policy[:, None], policy[:, None], torch.ones(count, 1), torch.ones(count, 1), torch.arange(count))
    )


REWARDS = [[2.0, -1.5], [1.5, 0.0], [0.5, 0.8], [-0.5, 1.2], [-1.0, 1.5]]


def test_weighted_cloning_converges_to_the_constrained_gibbs_policy():
    """Bradley–Terry win rates of the toy's two rewards, without self-comparisons; the bound is met with equality."""
    method = prepared(REWARDS, preference="BradleyTerry", scale=1.0, bounds=[{"name": "harmless", "winRate": 0.55}])
    logits = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS([logits], max_iter=400, tolerance_grad=1e-13, tolerance_change=0)

    def closure():
        descent.zero_grad()
        loss = losses(method, logits.log_softmax(0)).mean()
        loss.backward()
        return loss

    descent.step(closure)
    policy = logits.detach().softmax(0).numpy()
    assert policy == pytest.approx(method.dual.policy, abs=1e-6)
    assert method.dual.secondary == pytest.approx([0.55], abs=1e-6)
    assert method.dual.multipliers[0] > 0


def test_gradients_agree_with_finite_differences_and_the_loss_at_the_reference_is_known():
    method = prepared(REWARDS, bounds=[{"name": "harmless", "winRate": 0.5}])
    policy = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: losses(method, values), policy)
    reference = torch.full((5,), math.log(0.2), dtype=torch.float64)
    assert losses(method, reference).mean().item() == pytest.approx(math.log(5))


def test_permuting_the_secondary_objectives_permutes_the_result():
    scores = [[*own, third] for own, third in zip(REWARDS, (0.1, 0.9, 0.3, 0.5, 0.2), strict=True)]
    found = []
    for order in ((0, 1, 2), (0, 2, 1)):
        names = tuple(("helpful", "harmless", "truthful")[k] for k in order)
        examples = [
            Example(str(n), [1], [[2]], (1,), (0.0,), "q", (tuple(own[k] for k in order),), n)
            for n, own in enumerate(scores)
        ]
        method = methods.make(MethodSpec.model_validate(mopo()), names, (0.3, 0.3, 0.4), "helpful")
        method.prepare(examples)
        found.append((method.dual.policy, dict(zip(names[1:], method.dual.multipliers, strict=True))))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-4)


def test_identical_objectives_are_the_single_objective_policy():
    """A secondary that agrees with the primary is never violated: its multiplier stays 0."""
    two = prepared([[own[0], own[0]] for own in REWARDS])
    assert two.dual.multipliers == pytest.approx([0])
    one = methods.make(MethodSpec.model_validate(mopo()), ("helpful",), (1.0,))
    one.prepare([Example(str(n), [1], [[2]], (1,), (0.0,), "q", ((own[0],),), n) for n, own in enumerate(REWARDS)])
    assert np.array_equal(two.dual.policy, one.dual.policy)


def test_a_refresh_tilts_the_reference_by_what_the_policy_has_learned_and_ratchets_the_bounds():
    method = prepared(REWARDS, relaxation=0.9, preference="BradleyTerry", scale=1.0)
    first = method.dual
    assert method.figures()["bound/harmless"] == pytest.approx(0.45)
    method.refresh(None)
    assert method.figures()["bound/harmless"] == pytest.approx(0.9 * first.robust[0])
    lagged = np.log(first.policy) + 7.0  # any constant: the reference is normalised within a prompt
    method.refresh(lagged)
    assert method.state()["reference"] == pytest.approx(first.policy, abs=1e-9)
    again = prepared(REWARDS, relaxation=0.9, preference="BradleyTerry", scale=1.0)
    again.restore(method.state())
    assert np.array_equal(again.dual.policy, method.dual.policy)


@pytest.mark.parametrize(
    ("bounds", "where"),
    [([0.9], r"bounds\[harmless\].*win 0\.\d+, less than 0\.9"), ([0.9999], r"lower the bound")],
)
def test_a_bound_that_no_policy_reaches_is_refused(bounds, where):
    with pytest.raises(UserError, match=where):
        prepared(REWARDS, preference="BradleyTerry", scale=1.0, bounds=[{"name": "harmless", "winRate": bounds[0]}])


def test_bounds_that_exclude_each_other_are_refused():
    names = ("helpful", "harmless", "truthful")
    scores = [[0.5, x, 1 - x] for x in (0.0, 0.3, 0.7, 1.0)]
    spec = MethodSpec.model_validate(mopo(bounds=[{"name": name, "winRate": 0.8} for name in names[1:]]))
    method = methods.make(spec, names, (0.3, 0.3, 0.4), "helpful")
    with pytest.raises(UserError, match=r"misses one of them by 0\.3000 or more"):
        method.prepare(
            [Example(str(n), [1], [[2]], (1,), (0.0,), "q", (tuple(own),), n) for n, own in enumerate(scores)]
        )


def test_the_first_loss_is_that_of_the_weights_at_the_reference(make_pool_task):
    """One step sees all candidates: −(1/P) Σ π_λ log π_ref."""
    task = make_pool_task(trainer=STEPS, method=mopo())
    log = run(task)
    tokenizer = load_tokenizer(fetch(task.spec.model))
    examples = read_examples(task, tokenizer)
    store = Store(task.root).child("reference")
    (table,) = {path.split("/")[0] for path in store.list()}
    method = methods.make(task.spec.method, *task.wanted, task.spec.primary)
    assert fill(examples, Table(store, table, REFERENCE))
    method.prepare(examples)
    wanted = -(method.dual.policy * [example.reference[0] for example in examples]).sum() / 5
    assert log[0]["loss"] == pytest.approx(wanted, rel=1e-5)
    assert log[1]["loss"] < log[0]["loss"]
    for figure in ("effective_samples", "kl_target", "win_rate/helpful", "win_rate/harmless", "multiplier/harmless"):
        assert math.isfinite(log[0][figure])
    assert 1 <= log[0]["effective_samples"] <= 4


def test_a_resumed_training_refreshes_as_an_unbroken_one(make_pool_task):
    how = {
        "trainer": STEPS | {"perDeviceBatchSize": 5, "maxSteps": 8},
        "checkpoint": {"intervalSteps": 3},
        "method": mopo(lagSteps=2, relaxation=0.9),
    }
    unbroken, broken = make_pool_task("unbroken", **how), make_pool_task("broken", **how)
    log = run(unbroken)
    for step in (4, 7):
        with pytest.raises(KeyboardInterrupt):
            run(broken, [Kill(step)])
    assert run(broken) == log
    second = adapter(broken)
    assert all(torch.equal(value, second[name]) for name, value in adapter(unbroken).items())
    bounds = [row["bound/harmless"] for row in log]
    assert bounds[0] == pytest.approx(0.45)
    assert bounds[0] != bounds[1]
    assert bounds[5] != bounds[1], (
        "the policy of step 2 is the reference from step 4 on, and its bound comes at step 6"
    )


def test_an_objective_without_weight_changes_nothing(make_pool_task):
    two = make_pool_task("two", weights=(1.0, 0.0), trainer=STEPS, method=mopo())
    one = make_pool_task("one", weights=(1.0,), trainer=STEPS, method=mopo())
    assert run(two) == run(one)


def test_the_driver_refuses_bounds_before_anything_is_written(make_rollouts, tmp_path):
    scores = [[[n / 4, 1 - n / 4, 0.1 * (n % 2)] for n in range(5)] for _ in range(3)]
    rollouts = make_rollouts(scores)
    fields = {
        "model": {"uri": "file:///model"}, "data": {"rolloutJobRef": {"name": "rollout"}}, "pairs": {"rule": "Pool"},
        "objectives": [{"name": "helpful"}, {"name": "harmless"}], "lora": {}, "output": {"uri": f"file://{tmp_path}/out"},
        "method": mopo(bounds=[{"name": "harmless", "winRate": 0.99999}], preference="BradleyTerry", scale=1),
    }  # fmt: skip
    job = api.AlignmentJob.model_validate({"metadata": {"name": "align"}, "spec": fields})
    resolved = api.ResolvedJob(job=job, references=[rollouts])
    sources = rollout_sources(resolved, job.spec.data)
    with pytest.raises(UserError, match=r"spec.method.mopo.bounds\[harmless\]"):
        PairSource(job.spec, sources, held_out(resolved, job.spec, sources)).survey()
