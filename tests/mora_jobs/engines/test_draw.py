"""Drawing tokens: the distribution is the one asked for, and rows do not feel each other."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mora_jobs import api
from mora_jobs.engines.draw import Uniforms, draw


def wanted(logits: torch.Tensor, sampling: api.Sampling) -> np.ndarray:
    """Token probabilities by the definition, one token at a time."""
    p = torch.softmax(logits.double() / sampling.temperature, -1).numpy()
    order = sorted(range(len(p)), key=lambda i: -p[i])
    if sampling.top_k:
        order = order[: sampling.top_k]
    kept, mass, total = [], 0.0, sum(p[i] for i in order)
    for i in order:
        kept.append(i)
        mass += p[i]
        if mass >= sampling.top_p * total:
            break
    found = np.zeros_like(p)
    found[kept] = p[kept] / p[kept].sum()
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0, "topK": 5},
        {"topP": 0.6},
        {"topK": 6, "topP": 0.7},
        {"topK": 1},
        {"topK": 1000},
        {"topP": 0.001},
    ],
    ids=str,
)
def test_the_distribution_is_the_one_asked_for(settings: dict[str, float]) -> None:
    sampling = api.Sampling.model_validate(settings)
    logits = torch.randn(12, generator=torch.Generator().manual_seed(3)) * 2
    count = 20_000
    uniforms = np.random.default_rng(5).random(count).tolist()
    drawn = np.bincount(draw(logits.expand(count, -1), sampling, uniforms), minlength=12)
    expected = wanted(logits, sampling) * count
    assert (drawn[expected == 0] == 0).all()
    if (expected > 0).sum() > 1:
        assert chisquare(drawn[expected > 0], expected[expected > 0]).pvalue > 1e-4


@given(
    seed=st.integers(0, 2**31 - 1),
    rows=st.integers(1, 9),
    top_k=st.sampled_from([0, 3]),
    top_p=st.sampled_from([1.0, 0.8]),
)
@settings(max_examples=60, deadline=None)
def test_a_row_alone_draws_what_it_draws_in_company(seed: int, rows: int, top_k: int, top_p: float) -> None:
    sampling = api.Sampling(top_k=top_k, top_p=top_p, temperature=0.8)
    logits = torch.randn(rows, 50, generator=torch.Generator().manual_seed(seed)).bfloat16()
    uniforms = [Uniforms(seed, i).next() for i in range(rows)]
    together = draw(logits, sampling, uniforms)
    assert together == [draw(logits[i : i + 1], sampling, [uniforms[i]])[0] for i in range(rows)]


def test_the_ends_of_the_unit_interval_are_tokens_that_can_be_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]])
    for sampling in (api.Sampling(), api.Sampling(top_k=3), api.Sampling(top_p=0.9)):
        for uniform in (0.0, 1 - 2**-53):
            assert draw(logits, sampling, [uniform])[0] in (1, 2)


def test_streams_differ_by_seed_and_index_and_nothing_else() -> None:
    def numbers(seed: int, index: int) -> list[float]:
        stream = Uniforms(seed, index)
        return [stream.next() for _ in range(300)]

    assert numbers(5, 1) == numbers(5, 1)
    streams = [numbers(seed, index) for seed in (5, 6) for index in (0, 1)]
    assert len({value for stream in streams for value in stream}) == 1200
    assert all(0 <= value < 1 for stream in streams for value in stream)
