"""Rates and times left."""

import pytest

from mora_jobs.progress.rate import Rate


def test_a_steady_job_has_its_rate_and_the_time_left():
    rate = Rate()
    for second in range(200):
        rate.observe("Rollouts", 3 * second, second)
    assert rate.per_second() == pytest.approx(3.0)
    assert rate.remaining_seconds(3 * 199 + 30) == 10
    assert rate.remaining_seconds(3 * 199) == 0


def test_work_of_an_earlier_attempt_does_not_count():
    rate = Rate()
    rate.observe("Rollouts", 5000, 0.0)
    assert rate.per_second() is None
    assert rate.remaining_seconds(6000) is None
    rate.observe("Rollouts", 5010, 10.0)
    assert rate.per_second() == pytest.approx(1.0)


def test_another_stage_or_a_falling_counter_begins_anew():
    rate = Rate()
    rate.observe("Rollouts", 0, 0.0)
    rate.observe("Rollouts", 100, 1.0)
    rate.observe("Scores", 0, 2.0)
    assert rate.per_second() is None
    rate.observe("Scores", 5, 3.0)
    assert rate.per_second() == pytest.approx(5.0)
    rate.observe("Scores", 1, 4.0)
    assert rate.per_second() is None


def test_a_job_that_slows_down_is_soon_seen_to():
    rate = Rate(window=60.0)
    for second in range(600):
        rate.observe("Rollouts", 10 * second, second)
    for second in range(600, 780):
        rate.observe("Rollouts", 5990 + (second - 599), second)
    assert rate.per_second() == pytest.approx(1.0, abs=0.5)
    assert rate.per_second() > 1.0
