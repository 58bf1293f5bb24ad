import json
import math

import numpy as np
import pytest

from mora_jobs.errors import UserError
from mora_jobs.pareto.compare import compare
from mora_jobs.pareto.front import Front

OBJECTIVES = ("helpful", "harmless")


def plain(name: str, values: list[list[float]], objectives: tuple[str, ...] = OBJECTIVES) -> Front:
    return Front(name, objectives, tuple(f"p{i}" for i in range(len(values))), np.array(values, dtype=float))


def sampled(name: str, means: list[list[float]], prompts: range, seed: int = 0, noise: float = 0.1) -> Front:
    """Policies whose prompts share a difficulty, as evaluated on the same prompts."""
    ids = tuple(f"q{i}" for i in prompts)
    difficulty = np.random.default_rng(99).normal(0, 0.2, 1000)[list(prompts)]
    own = np.random.default_rng(seed).normal(0, noise, (len(means), len(ids), 2))
    rows = np.array(means)[:, None] + difficulty[None, :, None] + own
    return Front(name, OBJECTIVES, tuple(f"p{i}" for i in range(len(means))), rows.mean(axis=1), ids, rows)


def test_values_alone_give_figures_without_intervals() -> None:
    result = compare(plain("A", [[1, 3], [2, 2], [3, 1]]), plain("B", [[1, 2], [2, 1], [3, 1]]), [0, 0])
    assert [figure.value for figure in result.hypervolume] == [6, 4]
    assert result.difference.value == 2
    assert [figure.value for figure in result.coverage] == [1.0, pytest.approx(1 / 3)]
    assert math.isnan(result.difference.low)
    assert "without per-prompt values" in result.notes[0]
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["difference"]["low"] is None


def test_default_reference_is_the_worst_of_both() -> None:
    result = compare(plain("A", [[0.5, 0.5]]), plain("B", [[0.2, 0.8]]))
    assert result.reference == pytest.approx([0.19, 0.49])


def test_a_better_front_is_told_from_an_equal_one_by_its_interval() -> None:
    base = [[0.3, 0.6], [0.5, 0.5], [0.6, 0.3]]
    better = [[h + 0.05, s + 0.05] for h, s in base]
    prompts = range(150)
    gain = compare(sampled("A", better, prompts, 1), sampled("B", base, prompts, 2), [0, 0])
    assert 0 < gain.difference.low < gain.difference.value < gain.difference.high
    assert gain.difference.prompts == 150
    tie = compare(sampled("A", base, prompts, 3), sampled("B", base, prompts, 4), [0, 0])
    assert tie.difference.low < 0 < tie.difference.high
    # the difficulty of prompts is shared, so the difference is surer than either hypervolume
    width = [figure.high - figure.low for figure in (*gain.hypervolume, gain.difference)]
    assert width[2] < min(width[:2])


def test_intervals_are_deterministic_and_antisymmetric() -> None:
    a, b = (sampled(name, [[0.4, 0.5], [0.5, 0.4]], range(60), seed) for seed, name in enumerate("AB"))
    first, again, swapped = compare(a, b, [0, 0]), compare(a, b, [0, 0]), compare(b, a, [0, 0])
    assert first.to_json() == again.to_json()
    assert (swapped.difference.value, swapped.difference.low) == pytest.approx(
        (-first.difference.value, -first.difference.high)
    )
    assert swapped.coverage == first.coverage[::-1]


def test_a_front_equals_itself() -> None:
    a = sampled("A", [[0.4, 0.5], [0.5, 0.4]], range(30))
    result = compare(a, a)
    assert (result.difference.value, result.difference.low, result.difference.high) == (0, 0, 0)
    assert [figure.value for figure in result.coverage] == [1, 1]


def test_prompts_are_paired_by_id_and_others_are_left_out() -> None:
    a = sampled("A", [[0.4, 0.5]], range(40))
    whole = sampled("B", [[0.5, 0.4]], range(20, 60), 1)
    result = compare(a, whole, [0, 0])
    assert result.difference.prompts == 20
    assert "restricted to the 20 prompts that both were evaluated on (40, 40)" in result.notes
    order = list(reversed(range(40)))
    shuffled = Front(
        "B", OBJECTIVES, whole.points, whole.values, tuple(whole.prompts[i] for i in order), whole.per_prompt[:, order]
    )
    assert compare(a, shuffled, [0, 0]).to_json() == result.to_json()


def test_objectives_are_matched_by_name() -> None:
    swapped = plain("B", [[3, 1]], OBJECTIVES[::-1])
    result = compare(plain("A", [[1, 3]]), swapped, [0, 0])
    assert [figure.value for figure in result.coverage] == [1, 1]
    a = sampled("A", [[0.2, 0.6]], range(20))
    turned = Front("B", OBJECTIVES[::-1], a.points, a.values[:, ::-1], a.prompts, a.per_prompt[:, :, ::-1])
    assert [figure.value for figure in compare(a, turned, [0, 0]).coverage] == [1, 1]


def test_a_different_number_of_points_and_different_prompts_are_noted() -> None:
    result = compare(sampled("A", [[0.4, 0.5], [0.5, 0.4]], range(9)), sampled("B", [[0.4, 0.5]], range(10, 19)))
    assert "A has 2 points and B 1: hypervolume grows with the number of points" in result.notes
    assert any("different prompts" in note for note in result.notes)
    assert math.isnan(result.difference.low)


def test_missing_scores_are_left_out_of_the_means() -> None:
    a, b = (sampled(name, [[0.4, 0.5]], range(30), seed) for seed, name in enumerate("AB"))
    holes = a.per_prompt.copy()
    holes[0, :5, 1] = np.nan
    result = compare(Front("A", OBJECTIVES, a.points, a.values, a.prompts, holes), b, [0, 0])
    mean = holes[0, :, 0].mean() * np.nanmean(holes[0, :, 1])
    assert result.hypervolume[0].value == pytest.approx(mean)
    assert result.difference.low < result.difference.high
    holes[0, :, 1] = np.nan
    unscored = compare(Front("A", OBJECTIVES, a.points, a.values, a.prompts, holes), b, [0, 0])
    assert "no score at all" in unscored.notes[0]


@pytest.mark.parametrize(
    ("b", "reference", "message"),
    [
        (plain("B", [[1, 1]], ("helpful", "truthful")), None, "compare fronts on the same objectives"),
        (plain("B", np.zeros((0, 2))), None, "B: has no points"),
        (plain("B", [[1, 1]]), [0, 0, 0], "reference point: has 3 values for 2 objectives"),
    ],
)
def test_what_cannot_be_compared_is_one_clear_line(b: Front, reference, message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare(plain("A", [[1, 2]]), b, reference)
