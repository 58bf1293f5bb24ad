import math

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mora_jobs.estimators.diversity import is_exact, normalised_hypervolume, participation_ratio


def dominated_share(points: np.ndarray, cells: int) -> float:
    """Brute force: the share of grid cells whose upper corner a point dominates; exact for points on the grid."""
    corners = np.stack(np.meshgrid(*[np.arange(1, cells + 1) / cells] * points.shape[1]), axis=-1)
    flat = corners.reshape(-1, points.shape[1])
    return float((points[:, None] >= flat[None] - 1e-9).all(axis=2).any(axis=0).mean())


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 4), st.integers(1, 8), st.randoms(use_true_random=False))
def test_hypervolume_equals_counting_cells(dimensions: int, samples: int, random) -> None:
    points = np.array([[random.randint(0, 4) / 4 for _ in range(dimensions)] for _ in range(samples)])
    assert normalised_hypervolume(points) == pytest.approx(dominated_share(points, 4), abs=1e-12)


@pytest.mark.parametrize(
    ("u", "want"),
    [
        pytest.param([[0.5, 0.5]], 0.25, id="one sample is its product"),
        pytest.param([[0.0, 1.0]], 0.0, id="on an axis"),
        pytest.param([[1.0, 0.0], [0.0, 1.0]], 0.0, id="single rewards apart dominate nothing"),
        pytest.param([[1.0, 1.0, 1.0]], 1.0, id="everything at once"),
        pytest.param([[0.5, 0.5], [1.0, math.nan]], 0.25, id="incomplete samples are left out"),
        pytest.param([[0.5, math.nan]], math.nan, id="no complete sample"),
        pytest.param([[0.3], [0.7], [math.nan]], 0.7, id="one dimension is the maximum"),
        pytest.param([[math.nan]], math.nan, id="one dimension, missing"),
        pytest.param([[0.0]], 0.0, id="zero is not missing"),
        pytest.param([[0.5] * 5, [0.25] * 5], 0.5**5, id="five dimensions"),
    ],
)
def test_hypervolume_of(u: list[list[float]], want: float) -> None:
    assert normalised_hypervolume(u) == pytest.approx(want, nan_ok=True)


def test_many_prompts_at_once() -> None:
    u = np.random.default_rng(0).random((6, 5, 3))
    u[2, :, 1] = np.nan
    np.testing.assert_array_equal(normalised_hypervolume(u), [float(normalised_hypervolume(p)) for p in u])


def test_many_dimensions_are_exact_up_to_64_samples_and_close_beyond() -> None:
    assert is_exact(64, 8)
    assert not is_exact(65, 8)
    assert not is_exact(4, 9)
    # 200 samples of which two matter: exact is affordable here, and the approximation must agree with it
    u = np.vstack([np.full((198, 8), 0.2), [[0.9] * 4 + [0.6] * 4, [0.6] * 4 + [0.9] * 4]])
    exact = moocore.hypervolume(u, ref=np.zeros(8), maximise=True)
    assert normalised_hypervolume(u) == pytest.approx(exact, rel=0.02)
    assert normalised_hypervolume(u) == normalised_hypervolume(u), "deterministic"


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_scores_outside_the_unit_cube_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        normalised_hypervolume([[0.5, value]])


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 8), st.integers(1, 5), st.integers(0, 10_000))
def test_participation_ratio_equals_the_eigenvalues(samples: int, dimensions: int, seed: int) -> None:
    u = np.random.default_rng(seed).random((samples, dimensions))
    values = np.linalg.eigvalsh(np.atleast_2d(np.cov(u, rowvar=False)))
    assert participation_ratio(u) == pytest.approx(values.sum() ** 2 / (values**2).sum())
    assert 1 - 1e-9 <= participation_ratio(u) <= dimensions + 1e-9


@pytest.mark.parametrize(
    ("u", "want"),
    [
        pytest.param([[0.1, 0.1], [0.9, 0.9]], 1.0, id="one direction"),
        pytest.param([[0, 0], [1, 0], [0, 1], [1, 1]], 2.0, id="two equal directions"),
        pytest.param([[0, 0], [1, 0], [0, 1], [1, 1], [math.nan, 0.3]], 2.0, id="incomplete samples are left out"),
        pytest.param([[0.3, 0.7]] * 5, math.nan, id="nothing varies"),
        pytest.param([[0.3, 0.7]], math.nan, id="one sample"),
        pytest.param([[math.nan, 0.7]] * 3, math.nan, id="no complete sample"),
    ],
)
def test_participation_ratio_of(u: list[list[float]], want: float) -> None:
    assert participation_ratio(u) == pytest.approx(want, nan_ok=True)
