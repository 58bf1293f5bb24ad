"""Win rates of candidates against the others of their prompt."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from mora_jobs.align.solvers.win_rates import bradley_terry, by_comparison, win_rates


@pytest.mark.parametrize(
    ("scores", "preference", "wanted"),
    [
        pytest.param([[3], [2], [2], [1]], by_comparison, [[1], [0.5], [0.5], [0]], id="ties count half"),
        pytest.param([[0, 1], [1, 0]], by_comparison, [[0, 1], [1, 0]], id="objectives do not mix"),
        pytest.param([[0], [0]], bradley_terry(5), [[0.5], [0.5]], id="equal scores are even"),
        pytest.param([[np.log(3)], [0]], bradley_terry(1), [[0.75], [0.25]], id="σ of the gap"),
        pytest.param([[np.log(3) / 2], [0]], bradley_terry(2), [[0.75], [0.25]], id="σ of the scaled gap"),
    ],
)
def test_win_rates_of_known_scores(scores, preference, wanted):
    assert win_rates(scores, preference) == pytest.approx(np.array(wanted))


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.sampled_from([by_comparison, bradley_terry(4)]))
@settings(max_examples=40, deadline=None)
def test_win_rates_have_parity_and_follow_the_order_of_the_scores(seed, candidates, preference):
    scores = np.round(np.random.default_rng(seed).uniform(size=(candidates, 3)), 1)
    table = win_rates(scores, preference)
    assert table.mean(axis=0) == pytest.approx(np.full(3, 0.5), abs=1e-12)
    for column, rate in zip(scores.T, table.T, strict=True):
        assert (np.diff(rate[np.argsort(column, kind="stable")]) >= -1e-12).all()


def test_a_candidate_does_not_meet_itself():
    scores = np.random.default_rng(2).normal(size=(8, 2))
    itself_too = expit(scores[:, None] - scores[None]).mean(axis=1)
    assert itself_too - 0.5 == pytest.approx(0.875 * (win_rates(scores, bradley_terry(1)) - 0.5))


@pytest.mark.parametrize(
    ("scores", "message"),
    [([[0.5, 0.5]], "at least 2"), ([0.5, 0.5], "at least 2"), ([[0.5], [np.nan]], "every candidate")],
)
def test_scores_that_give_no_win_rate_are_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        win_rates(scores)


@pytest.mark.parametrize("scale", [0, -1, float("nan")])
def test_a_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises(ValueError, match="positive"):
        bradley_terry(scale)
