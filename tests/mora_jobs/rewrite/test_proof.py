"""When a rewrite counts as better, which one is chosen, and what its gain is."""

import math
from dataclasses import replace

import pytest

from mora_jobs.api.rewrite import Validation
from mora_jobs.rewrite.bench import Figures
from mora_jobs.rewrite.candidates import Candidate
from mora_jobs.rewrite.gains import measure_gain, status, unselected
from mora_jobs.rewrite.instructions import Target
from mora_jobs.rewrite.proof import choose, compare, shortfall

BEFORE = Figures(balance=0.3, hypervolume=0.2, joint=0.0, reach=(0.9, 0.4), active=1)
BETTER = Figures(balance=0.4, hypervolume=0.3, joint=1.0, reach=(0.9, 0.6), active=2)
BOUNDS = Validation(min_balance_gain=0.05, min_hypervolume_gain=0.05, max_reach_loss=0.03)

CASES = {
    "better in all": (BETTER, None),
    "balance rises exactly by the bound": (replace(BETTER, balance=0.35), None),
    "balance rises too little": (replace(BETTER, balance=0.349), "BalanceGain"),
    "no volume, but one more active": (replace(BETTER, hypervolume=0.2), None),
    "no volume, none more active": (replace(BETTER, hypervolume=0.2, active=1), "HypervolumeGain"),
    "volume alone": (replace(BETTER, active=1), None),
    "earned dimension falls by the bound": (replace(BETTER, reach=(0.87, 0.6)), None),
    "earned dimension falls": (replace(BETTER, reach=(0.86, 0.6)), "ReachLoss"),
    "not measured": (replace(BETTER, balance=math.nan), "BalanceGain"),
}


@pytest.mark.parametrize(("after", "reason"), CASES.values(), ids=CASES.keys())
def test_shortfall(after: Figures, reason: str | None) -> None:
    assert shortfall(BEFORE, after, 0, BOUNDS) == reason


def test_a_control_without_an_earned_dimension_cannot_lose_it() -> None:
    assert shortfall(BEFORE, replace(BETTER, reach=(0.0, 0.0)), None, BOUNDS) is None


def test_candidates_are_compared_with_their_own_original() -> None:
    targets = {name: Target(name, "?", "one", ("two",)) for name in "ab"}
    candidates = [Candidate("a~0", "a", "x"), Candidate("b~0", "b", "y")]
    figures = {"a": BEFORE, "b": BETTER, "a~0": BETTER, "b~0": BETTER}
    assert compare(candidates, targets, figures, ["one", "two"], BOUNDS) == {"a~0": None, "b~0": "BalanceGain"}


def test_the_best_mean_over_both_seeds_is_chosen_and_the_first_among_equals() -> None:
    candidates = [Candidate(f"a~{i}", "a", str(i)) for i in range(3)]
    first = {"a": BEFORE, **{f"a~{i}": replace(BETTER, balance=b) for i, b in enumerate((0.9, 0.6, 0.7))}}
    second = {"a": BEFORE, **{f"a~{i}": replace(BETTER, balance=b) for i, b in enumerate((0.4, 0.8, 0.6))}}
    assert choose(candidates, [first])["a"].id == "a~0"
    assert choose(candidates, [first, second])["a"].id == "a~1"
    assert choose(candidates, [second | {"a~1": second["a~2"]}, first | {"a~1": first["a~2"]}])["a"].id == "a~0"


def test_the_gain_is_paired_over_prompts() -> None:
    pairs = [(replace(BEFORE, balance=b), replace(BETTER, balance=b + 0.1)) for b in (0.1, 0.5, 0.9)]
    gain = status(measure_gain(pairs, ["one", "two"]), len(pairs), ["one", "two"])
    assert (gain.balance.before, gain.balance.after) == ("0.5", "0.6")
    assert gain.balance.ci == ["0.1", "0.1"]  # every prompt gained the same
    assert gain.reach["two"].after == "0.6"


def test_one_prompt_has_no_interval() -> None:
    assert status(measure_gain([(BEFORE, BETTER)], ["one", "two"]), 1, ["one", "two"]).balance.ci == []


def test_without_choosing_all_candidates_of_a_prompt_count_once() -> None:
    figures = {"a": BEFORE, "a~0": replace(BETTER, balance=0.2), "a~1": replace(BETTER, balance=0.4)}
    pairs, prompts = unselected({"a": ["a~0", "a~1"]}, figures, ["one", "two"])
    assert prompts == 1
    assert pairs[0][1].balance == pytest.approx(0.3)
