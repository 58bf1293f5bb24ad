"""What the policies are worth: the front, its hypervolume, the gains over the base model, and the forgetting matrix."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mora_jobs import api
from mora_jobs.align.plan import BASE, Point, Weights
from mora_jobs.api.align import AlignmentResult, FrontPoint, ObjectiveStatus, ParetoStatus, StageStatus
from mora_jobs.errors import UserError
from mora_jobs.estimators.bootstrap import present_mean
from mora_jobs.pareto.document import to_document
from mora_jobs.pareto.front import Assessment, Front, assess, compromise
from mora_jobs.pareto.improvement import Improvement, improvements

Floats = NDArray[np.float64]
MOST_POINTS = 64


class Results:
    """All policies on all prompts: `values` [n, P, R] in the order of `points` (the base model first) and `rewards`."""

    def __init__(
        self,
        objectives: Sequence[str],
        weights: Weights,
        rewards: Sequence[str],
        prompts: Sequence[str],
        points: Sequence[Point],
        root: str,
        values: Mapping[str, Floats],
    ) -> None:
        """`root`: URI of the artifacts; `values`: [P, R] by point, BASE among them. Prompts on which any policy lacks a
        score of an objective are left out for all: policies are compared on the same prompts."""
        self.objectives, self.weights, self.rewards = tuple(objectives), weights, tuple(rewards)
        self.points, self.root = tuple(points), root
        columns = [self.rewards.index(name) for name in objectives]
        stacked = np.stack([values[name] for name in self.names])
        kept = ~np.isnan(stacked[:, :, columns]).any(axis=(0, 2))
        if not kept.any():
            raise UserError(
                "spec.evaluation", "no prompt has a score of every objective under every policy", "look at the rewards"
            )
        self.prompts = tuple(name for name, keep in zip(prompts, kept, strict=True) if keep)
        self.left_out = int((~kept).sum())
        self._all = stacked[:, kept]
        self._columns, self._kept = columns, kept
        self.front = Front(
            "alignment", self.objectives, self.names, self.means[:, columns], self.prompts, self._all[:, :, columns]
        )
        # Zero is the lowest calibrated score there is: it cannot move with what is compared.
        self.reference = np.zeros(len(columns))
        self.assessment: Assessment = assess(self.front.values, self.reference)

    @property
    def names(self) -> tuple[str, ...]:
        return (BASE, *(point.name for point in self.points))

    @property
    def means(self) -> Floats:
        """[n, R] mean over prompts."""
        return np.stack([present_mean(values) for values in self._all])

    def means_of(self, values: Floats) -> dict[str, float | None]:
        """Mean of [P, R] values of some other policy over the same prompts, by reward."""
        kept = present_mean(values[self._kept])
        return {name: _known(value) for name, value in zip(self.rewards, kept.tolist(), strict=True)}

    @property
    def chosen(self) -> int:
        """Index of the policy whose gains are reported: the last stage, the single policy, the knee, or without a knee the
        non-dominated trained policy with the largest weighted mean."""
        if len(self.points) == 1 or self.points[-1].stage:
            return len(self.points)
        knee = self.assessment.knee
        if knee is not None and knee > 0:
            return knee
        return 1 + compromise(self.front.values[1:], [self.weights[name] for name in self.objectives])

    def improvements(self, point: int) -> list[Improvement]:
        """Gains of a point over the base model: objectives, their weighted mean `overall`, then the other rewards."""
        before, after = self._all[0], self._all[point]
        own = improvements(
            before[:, self._columns],
            after[:, self._columns],
            self.objectives,
            weights=[self.weights[name] for name in self.objectives],
        )
        others = [index for index in range(len(self.rewards)) if index not in self._columns]
        if not others:
            return own
        return own + improvements(before[:, others], after[:, others], [self.rewards[index] for index in others])[:-1]

    def result(self) -> AlignmentResult:
        """The status, without `training` and `pareto.artifact`."""
        return AlignmentResult(
            stages=self._stages(),
            objectives=[_objective(gain) for gain in self.improvements(self.chosen)],
            pareto=ParetoStatus(
                objectives=list(self.objectives),
                reference_point=[api.number(value) for value in self.reference],
                hypervolume=api.number(self.assessment.hypervolume),
                front=[self._front_point(index) for index in self.assessment.members[:MOST_POINTS]],
                knee=None if self.assessment.knee is None else self.names[self.assessment.knee],
            ),
        )

    def document(self, **further: Any) -> dict[str, Any]:
        """pareto.json: all points with their per-prompt values, and everything that the status has no room for."""
        others = [index for index in range(len(self.rewards)) if index not in self._columns]
        details = {
            name: {
                "weights": {} if index == 0 else self.points[index - 1].weights,
                # Relative: the artifacts have the same digest wherever they lie, and may be moved.
                "checkpoint": self._place(index),
                "otherRewards": {self.rewards[o]: _known(self.means[index, o]) for o in others},
                "improvements": [] if index == 0 else [gain.to_json() for gain in self.improvements(index)],
            }
            for index, name in enumerate(self.names)
        }
        document = to_document(self.front, self.assessment, self.reference, details)
        return document | {
            "chosen": self.names[self.chosen],
            "promptsLeftOut": self.left_out,
            "stages": [stage.to_dict() for stage in self._stages()],
            **further,
        }

    def _front_point(self, index: int) -> FrontPoint:
        name = self.names[index]
        weights = {} if index == 0 else self.points[index - 1].weights
        return FrontPoint(
            name=name,
            weights={key: api.number(value) for key, value in weights.items()},
            values=_numbers(self.objectives, self.front.values[index]),
            checkpoint_uri=f"{self.root}/{place}" if (place := self._place(index)) else None,
        )

    def _place(self, index: int) -> str | None:
        """Folder of a policy in the artifacts; the base model has none."""
        return f"points/{self.names[index]}" if index else None

    def _stages(self) -> list[StageStatus]:
        """The forgetting matrix: every objective before and after each stage."""
        return [
            StageStatus(
                objective=point.stage,
                before=_numbers(self.objectives, self.front.values[index]),
                after=_numbers(self.objectives, self.front.values[index + 1]),
            )
            for index, point in enumerate(self.points)
            if point.stage
        ]


def _objective(gain: Improvement) -> ObjectiveStatus:
    interval = [gain.points.low, gain.points.high]
    relative = gain.relative_percent.value
    return ObjectiveStatus(
        name=gain.name,
        before=api.number(gain.before),
        after=api.number(gain.after),
        points=api.number(gain.points.value),
        relative_percent=api.number(relative) if math.isfinite(relative) else None,
        ci=[api.number(bound) for bound in interval] if all(map(math.isfinite, interval)) else [],
    )


def _numbers(names: Sequence[str], values: Floats) -> dict[str, str]:
    return {name: api.number(float(value)) for name, value in zip(names, values, strict=True)}


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
