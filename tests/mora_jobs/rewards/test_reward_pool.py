"""The pool scores a stream on real Ray actors, holds little of it, and outlives dead workers."""

from pathlib import Path
from textwrap import dedent

import pytest

from mora_jobs import api
from mora_jobs.errors import UserError
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.pool import DEPTH, RewardPool
from mora_jobs.rewards.workers import RewardWorkerError, _gpu_share

pytestmark = pytest.mark.usefixtures("ray_local")

SOURCE = """
    import os, pathlib
    HERE = pathlib.Path(__file__).parent

    def length(prompts, responses):
        return [float(len(r)) for r in responses]

    def only_even(prompts, responses, n):
        return [None if value % 2 else float(value) for value in n]

    def dies_once(prompts, responses):
        if not (HERE / "died").exists():
            (HERE / "died").touch()
            os._exit(1)
        return [1.0] * len(responses)

    def always_dies(prompts, responses):
        (HERE / "deaths").open("a").write("x")
        os._exit(1)

    def breaks(prompts, responses):
        return [float("nan") if r == "yyy" else 0.0 for r in responses]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pool_rewards.py").write_text(dedent(SOURCE))
    return tmp_path


def python(name: str) -> api.Reward:
    return api.Reward(name=name, python=api.PythonReward(callable=f"pool_rewards:{name}"))


def item(n: int) -> Item:
    return Item(f"p{n}#0", f"prompt {n}", "y" * (n % 50), {"n": n})


def test_scores_come_in_order_and_missing_ones_stay_missing(folder):
    with RewardPool([python("length"), python("only_even")], [str(folder)], batch_items=7) as pool:
        items = [item(n) for n in range(40)]
        assert pool.score(items) == {
            "length": [float(n) for n in range(40)],
            "only_even": [None if n % 2 else float(n) for n in range(40)],
        }
        assert pool.score([]) == {"length": [], "only_even": []}


def test_a_stream_is_taken_as_it_is_needed_and_every_row_comes_back_once(folder):
    taken = 0

    def rows():
        nonlocal taken
        for n in range(600):
            taken += 1
            yield f"row{n}", [item(n)] * (n % 4)  # some rows have no items at all

    with RewardPool([python("length")], [str(folder)], batch_items=10) as pool:
        found: dict[str, list] = {}
        for key, scores in pool.stream(rows()):
            found[key] = scores["length"]
            # What is taken but not yet handed on: the batches in flight, and those being handed on.
            assert taken - len(found) <= 2 * DEPTH * 12 + 12
    assert found == {f"row{n}": [float(n % 50)] * (n % 4) for n in range(600)}


def test_a_dead_worker_is_replaced_and_its_batch_sent_again(folder):
    with RewardPool([python("dies_once"), python("length")], [str(folder)], batch_items=4) as pool:
        scores = pool.score([item(n) for n in range(12)])
    assert (folder / "died").exists()
    assert scores == {"dies_once": [1.0] * 12, "length": [float(n) for n in range(12)]}


def test_a_batch_that_kills_every_worker_is_given_up(folder, monkeypatch):
    monkeypatch.setattr("mora_jobs.rewards.workers.RETRIES", 1)
    with (
        RewardPool([python("always_dies")], [str(folder)]) as pool,
        pytest.raises(RewardWorkerError, match="the worker of always_dies died"),
    ):
        pool.score([item(1)])
    assert (folder / "deaths").read_text() == "xx"


def test_a_users_mistake_in_a_worker_is_the_same_line_here(folder):
    with (
        RewardPool([python("breaks"), python("length")], [str(folder)], batch_items=2) as pool,
        pytest.raises(
            UserError, match=r"^reward 'breaks' \(pool_rewards:breaks\): returned nan at index 1 \(item p3#0\)"
        ),
    ):
        pool.score([item(n) for n in range(6)])


def test_a_callable_that_is_not_there_shows_before_any_work(folder):
    with pytest.raises(UserError, match="has no 'absent'") as error, RewardPool([python("absent")], [str(folder)]):
        pass
    assert error.value.reason == "CallableNotFound"
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("models", "gpus", "expected"),
    [(3, 0, (0.0, 1)), (1, 1, (1.0, 1)), (3, 1, (1 / 3, 1)), (3, 2, (0.5, 1)), (3, 8, (1.0, 2)), (5, 4, (0.5, 1))],
)
def test_models_share_gpus_without_straddling_two(models, gpus, expected):
    assert _gpu_share(models, gpus) == expected


def test_a_batch_of_prompts_without_a_response_asks_nobody() -> None:
    class Never:
        """A stand-in for a worker: heads on statements cannot be given an empty batch."""

        label, size = "never", 1

        def submit(self, items):
            raise AssertionError("asked")

    pool = RewardPool([python("length")], [])
    pool.workers = [Never()]
    assert list(pool.stream([("a", []), ("b", [])])) == [("a", {"length": []}), ("b", {"length": []})]
