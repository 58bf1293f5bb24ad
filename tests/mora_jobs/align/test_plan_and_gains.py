"""Which trainings and points a job has, and what is made of what they score."""

import numpy as np
import pytest
from align_jobs import alignment

from mora_jobs.align.gains import Results
from mora_jobs.align.plan import BASE, Point, make_plan, objective_weights
from mora_jobs.errors import UserError

OUT = "file:///out"


def plan(**spec):
    return make_plan(alignment(OUT, "/model", **spec).spec, OUT, "sha256:pairs")


def test_a_single_policy_has_the_weights_of_the_objectives():
    objectives = [{"name": "helpful", "weight": 0.5}, {"name": "harmless", "weight": 0.5}]
    found = plan(objectives=objectives)
    assert found.tasks["policy"].weights == (0.5, 0.5)
    assert [(point.name, point.mix) for point in found.points] == [("policy", (("policy", 1.0),))]


def test_objectives_without_weights_count_alike():
    spec = alignment(OUT, "/model").spec
    assert list(objective_weights(spec).values()) == pytest.approx([1 / 3] * 3)


def test_a_grid_trains_one_policy_for_each_vector():
    found = plan(pairs={"rule": "PerObjective"}, front={"strategy": "WeightGrid", "points": 6})
    assert len(found.tasks) == len(found.points) == 6
    assert all(
        task.weights == tuple(point.weights.values())
        for task, point in zip(found.tasks.values(), found.points, strict=True)
    )
    assert len({task.digest() for task in found.tasks.values()}) == 6


def test_a_soup_trains_one_expert_for_each_objective_that_is_used():
    vectors = [
        {"name": "mild", "weights": {"helpful": 0.25, "truthful": 0.75}},
        {"name": "frank", "weights": {"truthful": 1}},
    ]
    found = plan(pairs={"rule": "PerObjective"}, front={"strategy": "RewardedSoup", "vectors": vectors})
    assert {name: task.weights for name, task in found.tasks.items()} == {
        "expert-helpful": (1, 0, 0),
        "expert-truthful": (0, 0, 1),
    }
    assert found.points[0].mix == (("expert-helpful", 0.25), ("expert-truthful", 0.75))
    assert found.points[1].mix == (("expert-truthful", 1.0),)


def test_stages_start_from_what_was_learned_before_and_are_measured_with_it():
    order = ["harmless", "helpful", "truthful"]
    found = plan(regime="Sequential", order=order, pairs={"rule": "StageGuard"})
    third = found.tasks["stage-3"]
    assert third.frozen == (f"{OUT}/trainings/stage-1/policy", f"{OUT}/trainings/stage-2/policy")
    assert third.stage == "truthful"
    assert [point.stage for point in found.points] == order
    assert found.points[2].mix == (("stage-1", 1.0), ("stage-2", 1.0), ("stage-3", 1.0))


def test_full_stages_hand_the_whole_model_on():
    found = plan(regime="Sequential", lora=None, output={"uri": OUT, "save": "Full"})
    assert found.tasks["stage-2"].model.uri == f"{OUT}/trainings/stage-1/policy"
    assert found.points[2].mix == (("stage-3", 1.0),)


def test_adapters_of_the_model_are_part_of_the_start():
    model = {"uri": "file:///model", "adapters": [{"name": "old", "uri": "file:///old"}]}
    task = plan(model=model).tasks["policy"]
    assert task.frozen == ("file:///old",)
    assert task.model.adapters == []


def test_a_digest_tells_what_matters_from_what_does_not():
    base = plan().tasks["policy"].digest()
    patient = {"precision": "FP32", "perDeviceBatchSize": 2, "maxSteps": 2, "learningRate": 0.01, "maxFailures": 9}
    assert plan(trainer=patient).tasks["policy"].digest() == base
    assert plan(trainer=patient | {"seed": 1}).tasks["policy"].digest() != base
    assert plan(method={"beta": 0.2}).tasks["policy"].digest() != base


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"helpful": 0.5, "harmless": 0.4}, "sum to 0.9"), ({"helpful": 1}, "stands for the model")],
)
def test_vectors_that_cannot_be(weights, message):
    name = "base" if len(weights) == 1 else "mine"
    front = {"strategy": "WeightGrid", "vectors": [{"name": name, "weights": weights}]}
    with pytest.raises(UserError, match=message):
        plan(pairs={"rule": "PerObjective"}, front=front)


def results(rows: dict[str, list[list[float]]], stages: bool = False, spread: float = 0.05) -> Results:
    """Policies whose mean on (a, b, judge) is a row; prompts lie symmetrically around it."""
    around = np.array([-spread, 0.0, spread])[:, None]
    values = {name: np.asarray(row)[None, :] + around for name, row in rows.items()}
    names = [name for name in rows if name != BASE]
    points = [
        Point(name, {"a": 0.5, "b": 0.5}, ((name, 1.0),), "ab"[i] if stages else "") for i, name in enumerate(names)
    ]
    return Results(
        ["a", "b"], {"a": 0.5, "b": 0.5}, ["a", "b", "judge"], ["x", "y", "z"], points, "file:///out", values
    )


FRONT = {BASE: [0.4, 0.4, 0.5], "left": [0.6, 0.3, 0.5], "knee": [0.58, 0.58, 0.6], "right": [0.3, 0.6, 0.5]}


def test_the_front_its_volume_and_its_knee():
    found = results(FRONT)
    status = found.result().pareto
    assert [point.name for point in status.front] == ["right", "knee", "left"]
    assert status.knee == "knee"
    # 0.6 × 0.3 + 0.58 × 0.28 + 0.3 × 0.02 by hand, against the origin
    assert float(status.hypervolume) == pytest.approx(0.6 * 0.3 + 0.58 * 0.28 + 0.3 * 0.02)
    assert status.reference_point == ["0", "0"]
    assert status.front[1].checkpoint_uri == "file:///out/points/knee"
    places = {point["name"]: point["checkpoint"] for point in found.document()["points"]}
    assert places[BASE] is None
    assert places["knee"] == "points/knee", "relative, so that the artifacts can be moved"


def test_gains_of_the_knee_in_points_and_percent_with_paired_intervals():
    gains = {gain.name: gain for gain in results(FRONT).result().objectives}
    assert list(gains) == ["a", "b", "overall", "judge"]
    assert float(gains["a"].points) == pytest.approx(18)
    assert float(gains["a"].relative_percent) == pytest.approx(45)
    # Every prompt gains the same: the interval of a paired difference has no width, however prompts differ.
    assert [float(bound) for bound in gains["a"].ci] == pytest.approx([18, 18])
    assert float(gains["judge"].points) == pytest.approx(10)


def test_prompts_without_a_score_under_some_policy_are_left_out_for_all():
    values = {name: np.array([[0.2, 0.2], [0.8, 0.8]]) for name in (BASE, "p")}
    values["p"] = np.array([[np.nan, 0.2], [0.9, 0.8]])
    point = Point("p", {}, (("p", 1.0),))
    found = Results(["a", "b"], {"a": 0.5, "b": 0.5}, ["a", "b"], ["x", "y"], [point], "file:///out", values)
    assert found.prompts == ("y",)
    assert found.document()["promptsLeftOut"] == 1
    assert found.front.values.tolist() == [[0.8, 0.8], [0.9, 0.8]]
    with pytest.raises(UserError, match="no prompt has a score of every objective"):
        Results(
            ["a", "b"], {}, ["a", "b"], ["x", "y"], [point], "file:///out", values | {BASE: np.full((2, 2), np.nan)}
        )


def test_the_forgetting_matrix_shows_what_each_stage_did_to_all_objectives():
    found = results({BASE: [0.4, 0.4, 0.5], "stage-1": [0.6, 0.3, 0.5], "stage-2": [0.5, 0.6, 0.5]}, stages=True)
    stages = found.result().stages
    assert [stage.objective for stage in stages] == ["a", "b"]
    assert (stages[0].before, stages[0].after) == ({"a": "0.4", "b": "0.4"}, {"a": "0.6", "b": "0.3"})
    assert stages[1].after == {"a": "0.5", "b": "0.6"}
    assert found.names[found.chosen] == "stage-2"


def test_one_objective_is_enough():
    values = {name: np.array([[v], [v + 0.1]]) for name, v in ((BASE, 0.3), ("policy", 0.5))}
    point = Point("policy", {"a": 1.0}, (("policy", 1.0),))
    found = Results(["a"], {"a": 1.0}, ["a"], ["x", "y"], [point], "file:///out", values)
    status = found.result()
    assert float(status.pareto.hypervolume) == pytest.approx(0.55)
    assert [each.name for each in status.pareto.front] == ["policy"]
