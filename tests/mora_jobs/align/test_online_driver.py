"""Online methods through the driver: real engines, rewards and trainings on a tiny model and a local Ray."""

import json

import pytest
from align_jobs import alignment, spread

from mora_jobs import api
from mora_jobs.align.driver import run
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError
from mora_jobs.progress.reporter import Reporter

REWARD_CODE = """
def helpful(prompts, responses, **columns):
    return [len(set(r)) / 16 for r in responses]

def harmless(prompts, responses, **columns):
    return [None if len(r) % 7 == 0 else len(r) % 10 / 10 for r in responses]
"""
ENGINE = {"type": "Transformers", "dtype": "Float32"}


@pytest.fixture
def make_job(make_rollouts, tiny_model, tmp_path):
    """A resolved AlignmentJob that samples four responses to each of its prompts."""
    (tmp_path / "align_rewards.py").write_text(REWARD_CODE)
    for name, count in (("online", 5), ("heldout", 2)):
        rows = [{"id": f"{name}{i}", "prompt": f"is bread {i} {name}?"} for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rollout = make_rollouts(spread(6, 6, rewards=2))

    def make(out: str = "out", **spec) -> api.ResolvedJob:
        defaults = {
            "objectives": [{"name": "helpful"}, {"name": "harmless"}],
            "method": {"name": "GRPO"},
            "onlinePrompts": {"uri": f"file://{tmp_path}/online.jsonl"},
            "generation": {"engine": ENGINE, "sampling": {"samplesPerPrompt": 4, "maxTokens": 6}},
            "evaluation": {"prompts": {"uri": f"file://{tmp_path}/heldout.jsonl"}, "samplesPerPrompt": 2},
            "trainer": {
                "precision": "FP32",
                "perDeviceBatchSize": 4,
                "gradientAccumulation": 2,
                "maxSteps": 3,
                "learningRate": 0.01,
                "maxFailures": 0,
            },
        }
        job = alignment(f"file://{tmp_path / out}", tiny_model, **defaults | spec)
        return api.ResolvedJob(job=job, references=[rollout], import_paths=[str(tmp_path)])

    return make


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(
    "method",
    [
        {"name": "GRPO"},
        pytest.param({"name": "REINFORCEPlusPlus", "reinforcePlusPlus": {"baseline": True}}, marks=pytest.mark.slow),
    ],
)
def test_from_prompts_to_a_front(make_job, method):
    resolved = make_job(method=method)
    result = run(resolved, Reporter())
    store = Store(resolved.job.spec.output.uri)
    log = json.loads(store.read("trainings/policy/log.json"))
    assert [row["step"] for row in log] == [1, 2, 3]
    for row in log:
        assert 0 <= row["reward/helpful"] <= 1
        assert {"kl", "clip_share", "tokens_per_second", "sync_seconds", "advantage_spread"} <= set(row)
    assert log[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert log[-1]["kl"] != 0
    assert {point.name for point in result.pareto.front} <= {"base", "policy"}
    assert not store.list("trainings/policy/sync")
    assert not store.exists("pairs.json")
    assert run(resolved, Reporter()) == result


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"generation": {"sampling": {"temperature": 0}}}, "all responses to a prompt are the same"),
        ({"generation": {"sampling": {"samplesPerPrompt": 1}}}, "nothing to compare"),
        ({"generation": {"sampling": {"samplesPerPrompt": 3}}}, "no multiple of the 3"),
        ({"objectives": [{"name": "kind"}]}, r"objectives\[kind\]"),
    ],
)
def test_a_mistake_is_found_before_anything_is_written(make_job, tmp_path, spec, message):
    with pytest.raises(UserError, match=message):
        run(make_job(**spec), Reporter())
    assert not (tmp_path / "out").exists()


def test_prompts_that_are_measured_on_are_not_sampled_from(make_job, tmp_path):
    same = {"prompts": {"uri": f"file://{tmp_path}/online.jsonl"}}
    with pytest.raises(UserError, match="each of the 5 prompts is measured on"):
        run(make_job(evaluation=same), Reporter())
