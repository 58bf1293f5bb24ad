import math

import numpy as np
import pytest

from mora_jobs.estimators.measures import Measures, active, measure, spread
from mora_jobs.estimators.reach import balance


def with_gaps(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    u = rng.random(shape)
    u[rng.random(shape) < 0.3] = np.nan
    return u


@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_spread_equals_numpy_quantiles_of_what_is_present() -> None:
    u = with_gaps((50, 7))
    np.testing.assert_allclose(spread(u), np.nanquantile(u, 0.9, axis=1) - np.nanquantile(u, 0.1, axis=1), atol=1e-12)


@pytest.mark.parametrize(
    ("u", "want"), [([0.4], 0.0), ([0.2, 0.7], 0.4), ([0.5] * 9, 0.0), ([math.nan, 0.3], 0.0), ([math.nan], math.nan)]
)
def test_spread_of(u: list[float], want: float) -> None:
    assert spread(u) == pytest.approx(want, nan_ok=True)


def test_each_prompt_is_measured_on_the_samples_it_has() -> None:
    u = with_gaps((40, 9, 3))
    figures = measure(u, 0.5)
    for p, prompt in enumerate(u):
        complete = prompt[~np.isnan(prompt).any(axis=1)]
        n = len(complete)
        assert figures.complete[p] == n
        for m in range(3):
            present = prompt[~np.isnan(prompt[:, m]), m]
            assert figures.reach[p, m] == pytest.approx(present.max() if len(present) else math.nan, nan_ok=True)
        hit = float((complete >= 0.5).all(axis=1).any()) if n else math.nan
        assert figures.joint[p] == pytest.approx(hit, nan_ok=True)
        assert figures.balance[p] == pytest.approx(complete.min(axis=1).max() if n else math.nan, nan_ok=True)
        gain = np.subtract(*balance(complete, [n, n // 2])) if n >= 2 else math.nan
        assert figures.balance_gain[p] == pytest.approx(gain, nan_ok=True)


def test_batches_join() -> None:
    u = with_gaps((8, 5, 2))
    whole, joined = measure(u, 0.5), Measures.concatenate([measure(u[:3], 0.5), measure(u[3:], 0.5)])
    for name in ("reach", "spread", "joint", "balance", "balance_gain", "complete"):
        np.testing.assert_allclose(getattr(joined, name), getattr(whole, name), atol=1e-15)
    assert len(joined) == 8
    np.testing.assert_array_equal(whole.select(np.array([7, 0])).complete, whole.complete[[7, 0]])


def test_a_prompt_without_any_sample_is_unknown_not_zero() -> None:
    figures = measure(np.full((1, 4, 2), np.nan), 0.5)
    for name in ("reach", "spread", "joint", "balance", "balance_gain"):
        assert np.isnan(getattr(figures, name)).all()
    assert not active(figures, "Both", 0.0, 0.0).any()


@pytest.mark.parametrize(
    ("criterion", "want"),
    [
        ("Level", [True, True, False, False]),
        ("Spread", [True, False, True, False]),
        ("Both", [True, False, False, False]),
    ],
)
def test_criterion_switches_what_counts(criterion: str, want: list[bool]) -> None:
    # high and wide, high and flat, low and wide, low and flat
    u = np.stack([np.linspace(0.1, 0.9, 9), np.full(9, 0.9), np.linspace(0, 0.5, 9), np.full(9, 0.1)], axis=1)
    assert active(measure(u[None], 0.6), criterion, 0.7, 0.15)[0].tolist() == want


def test_thresholds_are_inclusive_despite_rounding() -> None:
    assert 0.95 - 0.8 < 0.15  # what floating point makes of it
    u = np.array([[[0.8], [0.8], [0.95], [0.95]]])
    assert active(measure(u, 0.6), "Both", 0.95, 0.15).all()
    assert not active(measure(u, 0.6), "Level", 0.950001, 0.15).any()
    assert not active(measure(u, 0.6), "Spread", 0.95, 0.150001).any()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="prompts, samples, dimensions"):
        measure(np.zeros((2, 2)), 0.5)
    with pytest.raises(ValueError, match="Level, Spread or Both"):
        active(measure(np.zeros((1, 2, 2)), 0.5), "level", 0.5, 0.1)
