import numpy as np
import pytest

from mora_jobs.pareto.front import Front, assess, compromise, knee


@pytest.mark.parametrize(
    ("points", "want"),
    [
        pytest.param([[0, 1], [0.8, 0.8], [1, 0]], 1, id="the bulge"),
        pytest.param([[0, 1000], [0.8, 800], [0.9, 500], [1, 0]], 1, id="whatever the units"),
        pytest.param([[0, 1], [0.5, 0.5], [1, 0]], None, id="a straight front has none"),
        pytest.param([[0, 1], [0.4, 0.4], [1, 0]], None, id="nor one that bends inwards"),
        pytest.param([[0, 1], [1, 0]], None, id="two points"),
        pytest.param([[0, 1], [1, 0], [0.2, 0.2]], None, id="a third, but dominated"),
        pytest.param([[0, 1], [0, 1], [1, 0]], None, id="a third, but equal"),
        pytest.param([[1, 1]], None, id="one point"),
        pytest.param(np.zeros((0, 2)), None, id="no point"),
        pytest.param([[1], [2], [3]], None, id="one objective"),
        pytest.param([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]], 3, id="three objectives"),
        pytest.param([[0, 1, 5], [0.8, 0.8, 5], [1, 0, 5]], 1, id="an objective that does not vary"),
        pytest.param([[0, 1], [0.9, 0.6], [0.75, 0.75], [1, 0]], 2, id="equal distance: the better worst objective"),
    ],
)
def test_knee(points: list, want: int | None) -> None:
    assert knee(points) == want


def test_knee_with_two_objectives_is_farthest_from_the_line_through_the_optima() -> None:
    t = np.linspace(0, np.pi / 2, 41)
    points = np.stack([5 + 3 * np.sin(t), 100 * np.cos(t) ** 0.5], axis=1)
    ends = points[[0, -1]]
    scaled = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    line = (ends[1] - ends[0]) / np.ptp(points, axis=0)
    offset = scaled - scaled[0]
    distance = np.abs(offset[:, 0] * line[1] - offset[:, 1] * line[0]) / np.hypot(*line)
    assert knee(points) == distance.argmax()
    assert knee(points[::-1]) == 40 - distance.argmax(), "whatever the order"


def test_without_a_knee_the_largest_weighted_mean_on_the_front_is_reported() -> None:
    assert compromise([[0, 1], [0.8, 0.8], [1, 0]]) == 1
    assert compromise([[0.2, 0.6], [0.5, 0.4]]) == 1
    assert compromise([[0.2, 0.6], [0.5, 0.4]], [0, 1]) == 0
    assert compromise([[0.3, 0.4]]) == 0


def test_assessment_lists_the_front_by_the_first_objective() -> None:
    result = assess([(3, 1), (1.5, 1.5), (2, 2), (1, 3), (2, 2)], [0, 0])
    assert result.members == (3, 2, 4, 0)
    assert result.hypervolume == 6.0
    assert result.contributions.tolist() == [1, 0, 0, 1, 0]
    assert result.knee is None


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"values": np.zeros((2, 3))}, "values must be"),
        ({"points": ("p", "p")}, "same name"),
        ({"per_prompt": np.zeros((2, 3, 2))}, "per-prompt values have shape"),
        ({"prompts": ("x", "x"), "per_prompt": np.zeros((2, 2, 2))}, "same name"),
    ],
)
def test_a_front_is_consistent(changes: dict, match: str) -> None:
    fields = {"name": "f", "objectives": ("a", "b"), "points": ("p", "q"), "values": np.zeros((2, 2))}
    with pytest.raises(ValueError, match=match):
        Front(**(fields | changes))
