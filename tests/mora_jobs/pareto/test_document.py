import json

import numpy as np
import pytest

from mora_jobs.errors import UserError
from mora_jobs.pareto.document import from_document, to_document
from mora_jobs.pareto.front import Front, assess

FRONT = Front(
    "job",
    ("helpful", "harmless"),
    ("w0", "w1", "base"),
    np.array([[0.2, 0.8], [0.7, 0.4], [0.1, 0.1]]),
    ("q1", "q2"),
    np.array([[[0.1, 0.9], [0.3, np.nan]], [[0.7, 0.4], [0.7, 0.4]], [[0.1, 0.1], [0.1, 0.1]]]),
)


def test_a_front_survives_writing_and_reading() -> None:
    document = to_document(FRONT, assess(FRONT.values, [0, 0]), np.zeros(2), {"w0": {"weights": {"helpful": 0.0}}})
    read = from_document(json.loads(json.dumps(document, allow_nan=False)), "job")
    assert (read.objectives, read.points, read.prompts) == (FRONT.objectives, FRONT.points, FRONT.prompts)
    np.testing.assert_array_equal(read.values, FRONT.values)
    np.testing.assert_array_equal(read.per_prompt, FRONT.per_prompt)
    assert [point["onFront"] for point in document["points"]] == [True, True, False]
    assert document["points"][0]["weights"] == {"helpful": 0.0}
    assert document["hypervolume"] == pytest.approx(0.2 * 0.8 + 0.5 * 0.4)
    assert document["knee"] is None


def test_the_status_of_a_job_is_read_too() -> None:
    status = {
        "objectives": ["helpful", "harmless"],
        "referencePoint": ["0", "0"],
        "front": [{"name": "w0", "values": {"harmless": "0.8", "helpful": "0.2"}}],
    }
    read = from_document(status, "job")
    assert read.values.tolist() == [[0.2, 0.8]]
    assert read.per_prompt is None


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"points": []}, "objectives is missing"),
        ({"objectives": ["a"]}, "front is missing"),
        ({"objectives": ["a"], "points": [{"name": "p", "values": {}}]}, "a is missing"),
        ({"objectives": ["a"], "points": [{"values": {"a": 1}}]}, "name is missing"),
        ({"objectives": ["a"], "points": [{"name": "p", "values": {"a": "x"}}]}, "could not convert"),
        ({"objectives": ["a"], "points": [{"name": "p", "values": {"a": "nan"}}]}, "not finite"),
        ({"objectives": ["a"], "points": [{"name": "p", "values": {"a": None}}]}, "not a front"),
        ({"objectives": [], "points": []}, "objectives are missing"),
        ({"objectives": ["a"], "points": [{"name": "p", "values": {"a": 1}}] * 2}, "same name"),
        (
            {"objectives": ["a"], "points": [{"name": "p", "values": {"a": 1}}], "prompts": ["q"], "perPrompt": {}},
            "p is missing",
        ),
        (
            {
                "objectives": ["a"],
                "points": [{"name": "p", "values": {"a": 1}}],
                "prompts": ["q"],
                "perPrompt": {"p": [[1], [2]]},
            },
            "per-prompt values have shape",
        ),
        ([1, 2], "not a front"),
        (None, "not a front"),
        ("text", "not a front"),
    ],
)
def test_what_is_no_front_is_one_clear_line(document, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        from_document(document, "other/pareto.json")
    assert str(caught.value).startswith("other/pareto.json: is not a front")
    assert "\n" not in str(caught.value)
