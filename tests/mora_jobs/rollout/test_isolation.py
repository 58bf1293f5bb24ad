import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mora_jobs.estimators.measures import measure
from mora_jobs.rollout.isolation import PromptClass, Thresholds, classify, classify_prompt

DEFAULTS = Thresholds("Both", 0.7, 0.15, 0.6, 0.1, 0.02)
WIDE = [0.1, 0.1, 0.2, 0.3, 0.5, 0.8, 0.9, 0.9]  # reaches 0.9 and varies
LOW = [0.1] * 8
HIGH = [0.9] * 8
SINGLE, MULTI, DEAD, MIXED = PromptClass


def prompt(*columns: list[float]) -> np.ndarray:
    return np.array(columns).T


@pytest.mark.parametrize(
    ("u", "changes", "want"),
    [
        pytest.param(prompt(WIDE, LOW, LOW), {}, (SINGLE, 0), id="one dimension only"),
        pytest.param(prompt(LOW, LOW, WIDE), {}, (SINGLE, 2), id="the last dimension only"),
        pytest.param(prompt(WIDE, WIDE, WIDE), {}, (MULTI, None), id="all together"),
        pytest.param(prompt(WIDE, WIDE[::-1], LOW), {}, (MIXED, None), id="two dimensions, never together"),
        pytest.param(prompt(LOW, LOW, LOW), {}, (DEAD, None), id="nothing"),
        pytest.param(prompt(HIGH, LOW, LOW), {}, (DEAD, None), id="high without spread is not active by Both"),
        pytest.param(prompt(HIGH, LOW, LOW), {"criterion": "Level"}, (SINGLE, 0), id="but is by Level"),
        pytest.param(
            prompt([0.1, 0.3] * 4, LOW), {"criterion": "Spread"}, (SINGLE, 0), id="wide but low is active by Spread"
        ),
        pytest.param(prompt(WIDE, HIGH, HIGH), {}, (MIXED, None), id="one active, but rollouts serve all: joint"),
        pytest.param(
            prompt(WIDE, [0.1] * 7 + [0.5]), {}, (MIXED, None), id="one active, but balance still grows: no plateau"
        ),
        pytest.param(
            prompt(WIDE, [0.1] * 7 + [0.5]), {"plateau_tolerance": 0.5}, (SINGLE, 0), id="unless that is tolerated"
        ),
        pytest.param(prompt(WIDE), {}, (MIXED, None), id="with one reward nothing is missing"),
        pytest.param(prompt([0.1, 0.3] * 4), {"criterion": "Spread"}, (MIXED, None), id="not even where it is low"),
        pytest.param(prompt(LOW), {}, (DEAD, None), id="with one reward, dead"),
        pytest.param(prompt(WIDE, LOW, LOW, LOW, LOW), {}, (SINGLE, 0), id="five rewards"),
        pytest.param(np.array([[0.9, 0.1]]), {"criterion": "Level"}, (MIXED, None), id="one sample shows no plateau"),
        pytest.param(np.array([[0.9, 0.9]]), {"criterion": "Level"}, (MULTI, None), id="one sample can be multi"),
        pytest.param(np.array([[0.1, 0.1]]), {}, (DEAD, None), id="one sample can be dead"),
        pytest.param(np.full((8, 3), math.nan), {}, (MIXED, None), id="no score at all"),
        pytest.param(np.zeros((0, 3)), {}, (MIXED, None), id="no sample at all"),
        pytest.param(prompt(WIDE, [math.nan] * 8), {}, (MIXED, None), id="a dimension that was never scored"),
        pytest.param(prompt(LOW, [math.nan] * 8), {}, (MIXED, None), id="which is not dead either"),
        pytest.param(
            prompt([*WIDE, math.nan], [*LOW, 0.9]),
            {},
            (MIXED, None),
            id="an incomplete sample counts for its own reach",
        ),
        pytest.param(prompt([*WIDE, 0.9], [*LOW, math.nan]), {}, (SINGLE, 0), id="but not for joint and balance"),
    ],
)
def test_class_of(u: np.ndarray, changes: dict, want: tuple[PromptClass, int | None]) -> None:
    assert classify_prompt(u, replace(DEFAULTS, **changes)) == want


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        pytest.param({}, (SINGLE, 0), id="at every threshold"),
        pytest.param({"reach_threshold": 0.750001}, (DEAD, None), id="reach just below"),
        pytest.param({"spread_threshold": 0.150001}, (DEAD, None), id="spread just below"),
        pytest.param({"joint_level": 0.5}, (MIXED, None), id="the joint level is inclusive"),
        pytest.param({"joint_level": 0.500001}, (SINGLE, 0), id="just above it nothing is joint"),
        pytest.param(
            {"plateau_tolerance": 0.0}, (MIXED, None), id="the plateau is exclusive: even flat is not below 0"
        ),
        pytest.param({"plateau_tolerance": 1e-6}, (SINGLE, 0), id="flat is below anything else"),
        pytest.param({"joint_threshold": 0.0}, (MIXED, None), id="joint below 0 cannot be"),
        pytest.param({"joint_level": 0.5, "joint_threshold": 1.0}, (MIXED, None), id="joint(N) is 1 after one hit"),
    ],
)
def test_thresholds_at_their_boundary(changes: dict, want: tuple[PromptClass, int | None]) -> None:
    u = prompt([0.6, 0.6, 0.75, 0.75], [0.5] * 4)
    assert classify_prompt(u, replace(Thresholds("Both", 0.75, 0.15, 0.6, 0.1, 0.02), **changes)) == want


def test_joint_of_exactly_the_threshold_is_multi_and_not_single() -> None:
    together = prompt(WIDE, WIDE)
    assert classify_prompt(together, replace(DEFAULTS, joint_threshold=1.0)) == (MULTI, None)


def test_histogram_counts_every_prompt_once() -> None:
    prompts = [
        prompt(WIDE, LOW), prompt(WIDE, LOW), prompt(LOW, WIDE), prompt(WIDE, WIDE), prompt(LOW, LOW),
        prompt(WIDE, WIDE[::-1]), np.full((8, 2), math.nan),
    ]  # fmt: skip
    isolation = classify(measure(np.stack(prompts), DEFAULTS.joint_level), DEFAULTS)
    assert isolation.histogram(["helpful", "harmless"]) == {
        "singleReward": {"helpful": 2, "harmless": 1},
        "multiReward": 1,
        "dead": 1,
        "mixed": 2,
        "unmeasured": 1,
    }
    assert [isolation.label(i) for i in range(7)] == [SINGLE, SINGLE, SINGLE, MULTI, DEAD, MIXED, MIXED]
    assert isolation.is_class(SINGLE).tolist() == [True] * 3 + [False] * 4
    assert isolation.active[3].tolist() == [True, True]


SCORES = arrays(np.float64, (6, 4, 3), elements=st.sampled_from([0.0, 0.2, 0.5, 0.6, 0.7, 0.9, math.nan]))


@given(SCORES, st.sampled_from(["Level", "Spread", "Both"]), st.permutations(range(4)), st.permutations(range(3)))
def test_classes_forget_the_order_of_samples_and_follow_that_of_dimensions(u, criterion, samples, dimensions) -> None:
    thresholds = replace(DEFAULTS, criterion=criterion)
    plain = classify(measure(u, 0.6), thresholds)
    shuffled = classify(measure(u[:, samples][:, :, dimensions], 0.6), thresholds)
    np.testing.assert_array_equal(plain.codes, shuffled.codes)
    np.testing.assert_array_equal(plain.active[:, dimensions], shuffled.active)
    single = plain.is_class(SINGLE)
    np.testing.assert_array_equal(plain.dimension[single], np.array(dimensions)[shuffled.dimension[single]])
    assert (plain.dimension[~single] == -1).all()
    assert (plain.active[single].sum(axis=1) == 1).all()
    counts = plain.histogram("abc")
    assert sum(counts["singleReward"].values()) + counts["multiReward"] + counts["dead"] + counts["mixed"] == 6
