"""Which pairs come together at which step."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mora_jobs.align.batches import Schedule, collate, steps_per_epoch
from mora_jobs.align.tokens import Example

lengths = st.lists(st.integers(2, 60), min_size=1, max_size=80)


@given(lengths, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_a_step_takes_the_same_pairs_however_many_workers_share_it(sizes, micro, workers, accumulation, steps):
    micros = workers * accumulation
    alone = list(Schedule(sizes, micro, micros, steps, seed=3))
    shared = [list(Schedule(sizes, micro, micros, steps, 3, rank, workers)) for rank in range(workers)]
    assert len(alone) == steps * micros
    for rank, batches in enumerate(shared):
        assert batches == alone[rank::workers]
        assert len(batches) == len(Schedule(sizes, micro, micros, steps, 3, rank, workers)) == steps * accumulation


@given(lengths, st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_an_epoch_shows_every_pair_and_none_much_more_often_than_another(sizes, micro, micros):
    steps = steps_per_epoch(len(sizes), micro * micros)
    seen = Counter(index for batch in Schedule(sizes, micro, micros, steps, seed=0) for index in batch)
    assert set(seen) == set(range(len(sizes)))
    assert max(seen.values()) - min(seen.values()) <= 1


def test_buckets_waste_little_and_still_mix_lengths_over_steps():
    sizes = [10 + 7 * (index % 40) for index in range(800)]
    batches = list(Schedule(sizes, 4, 2, 100, seed=1))
    padded = sum(4 * max(sizes[index] for index in batch) for batch in batches)
    assert padded < 1.05 * sum(sizes[index] for batch in batches for index in batch)
    means = [sum(sizes[index] for index in batch) / 4 for batch in batches]
    assert sorted(means) != means


def test_seeds_and_epochs_have_orders_of_their_own():
    sizes = [5] * 16
    first = list(Schedule(sizes, 2, 1, 16, seed=1))
    assert first == list(Schedule(sizes, 2, 1, 16, seed=1))
    assert first != list(Schedule(sizes, 2, 1, 16, seed=2))
    assert first[:8] != first[8:]


def test_micro_batches_must_fit_the_workers():
    with pytest.raises(ValueError, match="3 micro-batches cannot be dealt to 2 workers"):
        Schedule([1], 1, 3, 1, 0, 0, 2)


def test_a_batch_is_padded_on_the_right_and_marks_responses_only():
    pairs = [
        Example("a", [1, 2], [[3, 4, 5], [6]], (1, -1), (-1.0, -2.0)),
        Example("b", [7], [[8], [9, 10]], (0, 1), (-3.0, -4.0)),
    ]
    batch = collate(pairs, pad=0)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [1, 2, 6, 0, 0], [7, 8, 0, 0, 0], [7, 9, 10, 0, 0]]
    assert (batch["attention_mask"] == (batch["input_ids"] != 0)).all()
    assert batch["completion_mask"].int().tolist() == [
        [0, 0, 1, 1, 1],
        [0, 0, 1, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
    ]
    assert batch["signs"].tolist() == [[1, -1], [0, 1]]
    assert torch.equal(batch["reference"], torch.tensor([[-1.0, -2.0], [-3.0, -4.0]]))
