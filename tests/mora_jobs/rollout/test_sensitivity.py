from dataclasses import replace

import numpy as np
import pytest

from mora_jobs.estimators.measures import measure
from mora_jobs.rollout.isolation import Thresholds, classify
from mora_jobs.rollout.sensitivity import SubsetMeasures, sensitivity, stability, threshold_grid

DEFAULTS = Thresholds("Both", 0.7, 0.15, 0.6, 0.1, 0.02)
NAMES = ["helpful", "harmless"]


def single_prompts(count: int, n: int = 16) -> np.ndarray:
    """Every sample order gives the same class: dimension 0 alternates between 0.1 and 0.9, dimension 1 stays at 0.1."""
    one = np.tile([[0.1, 0.1], [0.9, 0.1]], (n // 2, 1))
    return np.stack([one] * count)


def random_prompts(count: int, n: int = 16, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(rng.beta(1, 2, (count, 1, 2)) + 0.15 * rng.standard_normal((count, n, 2)), 0, 1)


def total(histogram: dict) -> int:
    return sum(histogram["singleReward"].values()) + histogram["multiReward"] + histogram["dead"] + histogram["mixed"]


def test_every_entry_counts_all_prompts_and_the_given_thresholds_are_among_them() -> None:
    u = random_prompts(60)
    subsets = SubsetMeasures.of(u, DEFAULTS.joint_level)
    table = sensitivity(subsets, DEFAULTS, NAMES)
    own = classify(subsets.full, DEFAULTS).histogram(NAMES)
    assert all(total(entry) == 60 for kind in ("thresholds", "plateau", "samples") for entry in table[kind])
    assert {"reachThreshold": 0.7, "spreadThreshold": 0.15} | own in table["thresholds"]
    assert {"plateauTolerance": 0.02} | own in table["plateau"]
    assert table["samples"][0] == {"samples": 16} | own
    assert [entry["samples"] for entry in table["samples"]] == [16, 8, 4]
    assert table["plateau"][-1]["plateauTolerance"] is None


def test_stricter_thresholds_make_more_prompts_dead_and_tolerance_makes_more_single() -> None:
    table = sensitivity(SubsetMeasures.of(random_prompts(200), 0.6), DEFAULTS, NAMES)
    for spread in {entry["spreadThreshold"] for entry in table["thresholds"]}:
        dead = [entry["dead"] for entry in table["thresholds"] if entry["spreadThreshold"] == spread]
        assert dead == sorted(dead)
        assert dead[0] < dead[-1]
    single = [sum(entry["singleReward"].values()) for entry in table["plateau"]]
    assert single == sorted(single)
    assert single[0] < single[-1]


@pytest.mark.parametrize(
    ("criterion", "reaches", "spreads"),
    [
        ("Both", [0.5, 0.6, 0.7, 0.8, 0.9], [0.0, 0.075, 0.15, 0.225, 0.3]),
        ("Level", [0.5, 0.6, 0.7, 0.8, 0.9], [0.15]),
        ("Spread", [0.7], [0.0, 0.075, 0.15, 0.225, 0.3]),
    ],
)
def test_only_what_the_criterion_uses_is_varied(criterion: str, reaches: list[float], spreads: list[float]) -> None:
    grid = threshold_grid(replace(DEFAULTS, criterion=criterion))
    assert [(t.reach_threshold, t.spread_threshold) for t in grid] == [(r, s) for r in reaches for s in spreads]


def test_the_grid_stays_in_the_unit_interval_and_keeps_an_odd_threshold() -> None:
    grid = threshold_grid(Thresholds("Both", 0.95, 1 / 3, 0.6, 0.1, 0.02))
    assert {t.reach_threshold for t in grid} == {0.75, 0.85, 0.95, 1.0}
    assert 1 / 3 in {t.spread_threshold for t in grid}


def test_the_first_samples_and_two_disjoint_halves_are_measured() -> None:
    u = random_prompts(5, n=9)
    subsets = SubsetMeasures.of(u, 0.6)
    assert list(subsets.by_samples) == [9, 4, 2]
    np.testing.assert_array_equal(subsets.by_samples[2].reach, u[:, :2].max(axis=1))
    first, second = subsets.halves
    np.testing.assert_array_equal(first.reach, u[:, :4].max(axis=1))
    np.testing.assert_array_equal(second.reach, u[:, 4:8].max(axis=1))


@pytest.mark.parametrize(
    ("n", "sizes", "halves"), [(1, [1], False), (2, [2], False), (3, [3], False), (4, [4, 2], True)]
)
def test_too_few_samples_give_no_stability(n: int, sizes: list[int], halves: bool) -> None:
    subsets = SubsetMeasures.of(random_prompts(3, n), 0.6)
    assert list(subsets.by_samples) == sizes
    assert (subsets.halves is not None) == halves
    assert (sensitivity(subsets, DEFAULTS, NAMES)["stability"] is not None) == halves


def test_batches_join_and_reorder() -> None:
    u = random_prompts(30)
    u[3, 4:, 0] = np.nan
    whole = sensitivity(SubsetMeasures.of(u, 0.6), DEFAULTS, NAMES)
    parts = [SubsetMeasures.of(u[:7], 0.6), SubsetMeasures.of(u[7:], 0.6)]
    joined = SubsetMeasures.concatenate(parts)
    assert sensitivity(joined, DEFAULTS, NAMES) == whole
    swapped = SubsetMeasures.concatenate(parts[::-1]).select(np.r_[23:30, 0:23])
    assert sensitivity(swapped, DEFAULTS, NAMES) == whole
    with pytest.raises(ValueError, match="different numbers of samples"):
        SubsetMeasures.concatenate([parts[0], SubsetMeasures.of(u[:, :8], 0.6)])


def test_prompts_that_are_single_by_nature_are_stable_and_no_others_are_marked() -> None:
    dead = np.full((6, 16, 2), 0.1)
    report = stability(*SubsetMeasures.of(np.concatenate([single_prompts(4), dead]), 0.6).halves, DEFAULTS)
    assert (report["prompts"], report["marked"]) == (10, 8)
    assert report["same"] == {"value": 1.0, "low": 1.0, "high": 1.0, "prompts": 4}
    assert report["single"]["value"] == report["sameClass"]["value"] == 1.0
    assert report["base"]["value"] == 0.4


def test_single_on_one_half_only_or_on_another_dimension_is_counted_as_such() -> None:
    one = single_prompts(1, 8)[0]
    flat = np.full((8, 2), 0.1)
    halves = [(one, one), (one, flat), (one, one[:, ::-1])]  # stays, is lost, changes its dimension
    first, second = (measure(np.stack([pair[side] for pair in halves]), 0.6) for side in (0, 1))
    report = stability(first, second, DEFAULTS)
    assert report["marked"] == 5
    assert report["single"]["value"] == pytest.approx(4 / 5)
    assert report["same"]["value"] == pytest.approx(2 / 5)
    assert report["same"]["low"] <= 2 / 5 <= report["same"]["high"]
    assert report == stability(second, first, DEFAULTS), "both directions are pooled"


def test_nothing_marked_is_null_not_zero() -> None:
    report = stability(*SubsetMeasures.of(np.full((3, 8, 2), 0.1), 0.6).halves, DEFAULTS)
    assert report["marked"] == 0
    assert report["same"] == {"value": None, "low": None, "high": None, "prompts": 0}
    assert report["sameClass"]["value"] == 1.0
