"""Which trainings a job consists of, and how the policies that are measured are made of them."""

import dataclasses
from dataclasses import dataclass

from mora_jobs import api
from mora_jobs.align.simplex import even_grid
from mora_jobs.align.task import Task
from mora_jobs.api import FrontStrategy, MethodName, PairRule, Regime
from mora_jobs.api.methods import Margins, own_objective
from mora_jobs.errors import UserError

BASE = "base"
Weights = dict[str, float]


@dataclass(frozen=True)
class Point:
    """A policy that is measured: the sum of what the trainings `mix` learned, each times its coefficient."""

    name: str
    weights: Weights
    mix: tuple[tuple[str, float], ...]
    stage: str = ""
    """Objective of the stage whose end this is (Sequential)."""


@dataclass(frozen=True)
class Plan:
    """Trainings in rounds: those of one round do not need each other. Then the points."""

    rounds: tuple[tuple[Task, ...], ...]
    points: tuple[Point, ...]

    @property
    def tasks(self) -> dict[str, Task]:
        return {task.name: task for tasks in self.rounds for task in tasks}


def make_plan(spec: api.AlignmentSpec, root: str, pairs: str) -> Plan:
    """The plan of a job; `pairs` is the digest of its pairs."""
    if spec.regime is Regime.SEQUENTIAL:
        return _sequential(spec, root, pairs)
    names = [objective.name for objective in spec.objectives]
    match spec.front.strategy:
        case FrontStrategy.SINGLE:
            return _trained(spec, root, pairs, {"policy": objective_weights(spec)})
        case FrontStrategy.WEIGHT_GRID:
            return _trained(spec, root, pairs, _vectors(spec))
        case FrontStrategy.REWARDED_SOUP:
            vectors = _vectors(spec)
            experts = {
                f"expert-{name}": {other: float(other == name) for other in names}
                for name in names
                if any(weights[name] > 0 for weights in vectors.values())
            }
            points = [
                Point(name, weights, tuple((f"expert-{each}", weights[each]) for each in names if weights[each] > 0))
                for name, weights in vectors.items()
            ]
            return _one_round(spec, root, pairs, points, experts)


def objective_weights(spec: api.AlignmentSpec) -> Weights:
    """The weights of the objectives, equal when none is given, summing to 1."""
    given = {objective.name: objective.weight for objective in spec.objectives}
    values = {name: 1 / len(given) if weight is None else weight for name, weight in given.items()}
    total = sum(values.values())
    return {name: value / total for name, value in values.items()}


def _trained(spec: api.AlignmentSpec, root: str, pairs: str, vectors: dict[str, Weights]) -> Plan:
    """A training for each vector."""
    points = [Point(name, weights, ((name, 1.0),)) for name, weights in vectors.items()]
    plan = _one_round(spec, root, pairs, points, vectors)
    return _with_implicit_margins(plan, spec, root, pairs) if _implicit(spec) else plan


def _implicit(spec: api.AlignmentSpec) -> bool:
    settings = spec.method.modpo
    return spec.method.name is MethodName.MODPO and settings is not None and settings.margins is Margins.IMPLICIT


def _with_implicit_margins(plan: Plan, spec: api.AlignmentSpec, root: str, pairs: str) -> Plan:
    """MODPO's first stage: a policy for each objective that some point needs as another one's reward."""
    names = [objective.name for objective in spec.objectives]
    others = {
        task.name: [name for name, weight in zip(names, task.weights, strict=True) if weight > 0 and name != own]
        for task in plan.rounds[0]
        for own in [own_objective(names, task.weights, spec.primary)]
    }
    dpo = spec.method.with_changes(name=MethodName.DPO, modpo=None)
    experts = {
        name: dataclasses.replace(
            _first_task(spec, root, pairs, f"margin-{name}", {other: float(other == name) for other in names}),
            other_method=dpo,
        )
        for name in names
        if any(name in needed for needed in others.values())
    }
    points = tuple(
        dataclasses.replace(
            task,
            margins=tuple((name, experts[name].policy_model(experts[name].policy_uri)) for name in others[task.name]),
        )
        for task in plan.rounds[0]
    )
    return Plan((tuple(experts.values()), points) if experts else (points,), plan.points)


def _one_round(
    spec: api.AlignmentSpec, root: str, pairs: str, points: list[Point], trainings: dict[str, Weights]
) -> Plan:
    tasks = tuple(_first_task(spec, root, pairs, name, weights) for name, weights in trainings.items())
    return Plan((tasks,), tuple(points))


def _sequential(spec: api.AlignmentSpec, root: str, pairs: str) -> Plan:
    """Stage t starts from all that stages 1…t−1 learned, and that is its reference too."""
    names = [objective.name for objective in spec.objectives]
    rounds: list[tuple[Task, ...]] = []
    points: list[Point] = []
    for number, name in enumerate(spec.order or names, 1):
        weights = {other: float(other == name) for other in names}
        stage = name if spec.pairs.rule is PairRule.STAGE_GUARD else ""
        task = _first_task(spec, root, pairs, f"stage-{number}", weights, stage)
        earlier = [done for tasks in rounds for done in tasks]
        if earlier and spec.lora is not None:
            learned_before = tuple(done.policy_uri for done in earlier)
            task = dataclasses.replace(task, frozen=(*task.frozen, *learned_before))
            if spec.method.name is MethodName.ORTH_ALIGN:
                task = dataclasses.replace(task, protected=learned_before)
        elif earlier:
            task = dataclasses.replace(
                task, model=spec.model.with_changes(uri=earlier[-1].policy_uri, revision=None, adapters=[])
            )
        rounds.append((task,))
        # Low-rank updates add up; a fully trained model already holds what was before.
        learned = [*earlier, task] if spec.lora is not None else [task]
        mix = tuple((done.name, 1.0) for done in learned)
        points.append(Point(f"stage-{number}", weights, mix, name))
    return Plan(tuple(rounds), tuple(points))


def _first_task(spec: api.AlignmentSpec, root: str, pairs: str, name: str, weights: Weights, stage: str = "") -> Task:
    """A training that starts from the job's model."""
    lora = spec.lora is not None
    return Task(
        name=name,
        root=root,
        spec=spec,
        model=spec.model.with_changes(adapters=[]) if lora else spec.model,
        frozen=tuple(adapter.uri for adapter in spec.model.adapters) if lora else (),
        reference=spec.reference_model,
        weights=tuple(weights[objective.name] for objective in spec.objectives),
        stage=stage,
        pairs=pairs,
    )


def _vectors(spec: api.AlignmentSpec) -> dict[str, Weights]:
    """The weight vectors of the front by name: the user's, or an even grid."""
    names = [objective.name for objective in spec.objectives]
    if not spec.front.vectors:
        grid = even_grid(len(names), spec.front.points)
        return {f"point-{number}": dict(zip(names, vector, strict=True)) for number, vector in enumerate(grid, 1)}
    vectors: dict[str, Weights] = {}
    for vector in spec.front.vectors:
        total = sum(vector.weights.values())
        where = f"spec.front.vectors[{vector.name}]"
        if abs(total - 1) > 1e-3:
            raise UserError(where, f"the weights sum to {total:g}", "make them sum to 1")
        if vector.name == BASE:
            raise UserError(where, "the name base stands for the model before alignment", "choose another name")
        vectors[vector.name] = {name: vector.weights.get(name, 0.0) / total for name in names}
    return vectors
