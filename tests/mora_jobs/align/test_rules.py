"""Pair rules on calibrated scores: what every chosen pair has to be, whatever the scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mora_jobs.align import rules

# Multiples of 1/8: gaps are exact, so that a threshold is met or not met for a reason.
levels = st.integers(0, 8).map(lambda level: level / 8)


@st.composite
def scores(draw: st.DrawFn, objectives: int | None = None) -> np.ndarray:
    rollouts = draw(st.integers(2, 9))
    return draw(arrays(np.float64, (rollouts, objectives or draw(st.integers(1, 4))), elements=levels))


gap = st.sampled_from([0.0, 0.125, 0.25, 0.5])
limit = st.integers(1, 5)


def pick(candidates: rules.Candidates, most: int = 3) -> list[rules.Choice]:
    return rules.take(candidates, most, np.ones(candidates.eligible.shape, bool))


def all_rules(u: np.ndarray, least: float) -> list[rules.Candidates]:
    return [
        rules.dominance(u, least),
        rules.stage_guard(u, 0, least, 0.125),
        rules.per_objective(u, least),
        rules.aggregate(u.mean(axis=1), u.shape[1], least),
    ]


@given(scores(), gap, limit)
@settings(max_examples=40, deadline=None)
def test_no_rollout_is_in_two_pairs_and_the_strongest_pair_comes_first(u, least, most):
    for candidates in all_rules(u, least):
        chosen = pick(candidates, most)
        used = [index for each in chosen for index in (each.winner, each.loser)]
        assert len(used) == len(set(used))
        assert len(chosen) <= most
        strengths = [each.strength for each in chosen]
        assert strengths == sorted(strengths, reverse=True)
        eligible = candidates.strength[candidates.eligible]
        assert bool(chosen) == bool(eligible.size)
        if chosen:
            assert chosen[0].strength == eligible.max()


@given(scores(), gap)
@settings(max_examples=40, deadline=None)
def test_a_dominating_winner_is_nowhere_worse_and_better_by_the_gap(u, least):
    for each in pick(rules.dominance(u, least)):
        gaps = u[each.winner] - u[each.loser]
        assert (gaps >= 0).all()
        assert gaps.sum() >= least
        assert gaps.sum() > 0
        assert each.signs == (1,) * u.shape[1]


@given(scores(objectives=3), gap, st.integers(0, 2), st.sampled_from([0.0, 0.125, 0.25]))
@settings(max_examples=40, deadline=None)
def test_a_stage_gains_on_its_objective_and_nothing_falls_further_than_the_tolerance(u, least, stage, tolerance):
    for each in pick(rules.stage_guard(u, stage, least, tolerance)):
        gaps = u[each.winner] - u[each.loser]
        assert gaps[stage] >= least
        assert gaps[stage] > 0
        assert (np.delete(gaps, stage) >= -tolerance).all()
        assert each.signs == tuple(int(k == stage) for k in range(3))


@given(scores(), gap)
@settings(max_examples=40, deadline=None)
def test_signs_are_the_signs_of_the_gaps_that_are_large_enough(u, least):
    for each in pick(rules.per_objective(u, least)):
        gaps = u[each.winner] - u[each.loser]
        wanted = [int(np.sign(g)) if abs(g) >= least and g != 0 else 0 for g in gaps]
        assert list(each.signs) == wanted
        assert any(wanted)
        assert sum(g for g, sign in zip(gaps, wanted, strict=True) if sign) >= 0, "the winner is favoured in sum"


@given(scores(), gap)
@settings(max_examples=40, deadline=None)
def test_turning_a_pair_round_turns_its_signs_and_never_both_ways_are_eligible(u, least):
    signs = rules.per_objective(u, least).signs
    assert (signs == -signs.swapaxes(0, 1)).all()
    for candidates in all_rules(u, least):
        assert not (candidates.eligible & candidates.eligible.T).any()


@given(scores(objectives=3), gap, st.permutations(range(3)))
@settings(max_examples=40, deadline=None)
def test_permuting_objectives_permutes_signs_and_nothing_else(u, least, order):
    order = list(order)
    for rule in (rules.dominance, rules.per_objective):
        before, after = pick(rule(u, least)), pick(rule(u[:, order], least))
        assert [(a.winner, a.loser, a.strength) for a in after] == [(b.winner, b.loser, b.strength) for b in before]
        assert [a.signs for a in after] == [tuple(b.signs[k] for k in order) for b in before]


@given(arrays(np.float64, (6, 3), elements=st.floats(0, 1)), gap, st.permutations(range(3)))
@settings(max_examples=40, deadline=None)
def test_sums_do_not_depend_on_the_order_of_objectives_to_the_last_bit(u, least, order):
    before, after = rules.dominance(u, least), rules.dominance(u[:, list(order)], least)
    assert (before.strength == after.strength).all()


def test_equal_texts_are_never_a_pair():
    u = np.array([[1.0], [0.0], [0.0]])
    same = np.array([[False, False, True], [False, False, True], [True, True, False]])
    chosen = rules.take(rules.dominance(u, 0.3), 3, same)
    assert [(each.winner, each.loser) for each in chosen] == [(0, 2)]


@pytest.mark.parametrize(
    ("least", "found"),
    [(0.3, [(0, 1)]), (0.9, [(0, 1)]), (0.91, [])],
)
def test_the_gap_of_an_overall_score_counts_as_if_every_objective_had_it(least, found):
    overall = np.array([0.7, 0.4])
    chosen = pick(rules.aggregate(overall, 3, least))
    assert [(each.winner, each.loser) for each in chosen] == found
    assert all(each.signs == (1, 1, 1) for each in chosen)
