"""Measuring a policy: rollouts of the held-out prompts, scored and calibrated; the same seeds for every policy."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mora_jobs import api
from mora_jobs.align.heldout import HeldOut
from mora_jobs.align.pools import RolloutSource
from mora_jobs.artifacts.document import read_json, write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.engines.pool import EnginePool
from mora_jobs.errors import UserError
from mora_jobs.estimators.bootstrap import present_mean
from mora_jobs.generation.held import Held
from mora_jobs.generation.rollouts import sample
from mora_jobs.generation.scores import calibrated, score
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rewards.calibration import Calibration
from mora_jobs.rewards.pool import RewardPool

CALIBRATION = "evaluation/calibration.json"


@dataclass(frozen=True)
class Measurement:
    """What a policy is measured with."""

    rewards: tuple[api.Reward, ...]
    engine: api.Engine
    sampling: api.Sampling
    replicas: int
    credentials: tuple[api.Credential, ...] = ()
    """Of this job, and of the rollout job whose rewards it inherits."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(reward.name for reward in self.rewards)


def measurement(spec: api.AlignmentSpec, sources: list[RolloutSource]) -> Measurement:
    """Rewards, engine and sampling: those of the rollout job unless the spec has its own; further rewards are judges.

    UserError when a name is there twice or an objective has no reward.
    """
    inherited = list(sources[0].job.spec.rewards) if sources else []
    own = list(spec.evaluation.rewards) if spec.evaluation is not None else []
    names = [reward.name for reward in inherited]
    for reward in own:
        if reward.name in names:
            what = f"RolloutJob/{sources[0].name} has a reward of that name too"
            raise UserError(f"spec.evaluation.rewards[{reward.name}]", what, "give it another name")
    known = names + [reward.name for reward in own]
    for objective in spec.objectives:
        if objective.name not in known:
            what = f"no reward measures it, there are {', '.join(known) or 'none'}"
            raise UserError(f"spec.objectives[{objective.name}]", what, "add it to spec.evaluation.rewards")
    job = sources[0].job.spec if sources else None
    ours = {credential.name for credential in spec.credentials}
    theirs = job.credentials if job is not None else []
    sampling = spec.generation.sampling or (job.sampling if job else api.Sampling())
    samples = spec.evaluation.samples_per_prompt if spec.evaluation is not None else 4
    return Measurement(
        rewards=(*inherited, *own),
        engine=spec.generation.engine or (job.engine if job else api.Engine()),
        sampling=sampling.with_changes(samples_per_prompt=samples),
        replicas=spec.generation.replicas,
        credentials=(*spec.credentials, *(each for each in theirs if each.name not in ours)),
    )


def measure(
    store: Store,
    models: Mapping[str, api.ModelRef],
    held_out: HeldOut,
    how: Measurement,
    import_paths: Sequence[str],
    reporter: Reporter,
) -> dict[str, Table]:
    """Raw scores of each policy, as the tables evaluation/<name>/rollouts and …/scores. Resumable at every prompt.

    All policies answer before any is scored: the reward models are loaded once. Policies that differ in their adapters
    only answer from one engine.
    """
    families: dict[str, list[str]] = {}
    for name, model in models.items():
        families.setdefault(str(model.with_changes(adapters=[]).to_dict()), []).append(name)
    rollouts: dict[str, Table] = {}
    for names in families.values():
        first, *others = (models[name] for name in names)
        engines = Held(partial(EnginePool, first, how.engine, how.sampling, how.replicas, variants=others))
        with closing(engines):
            for variant, name in enumerate(names):
                rollouts[name] = _answers(store, name, engines, variant, held_out, how, reporter)
    with closing(Held(lambda: RewardPool(how.rewards, import_paths, how.credentials))) as pool:
        return {name: _judged(store, name, table, held_out, how, pool, reporter) for name, table in rollouts.items()}


def _judged(
    store: Store,
    name: str,
    rollouts: Table,
    held_out: HeldOut,
    how: Measurement,
    pool: Held[RewardPool],
    reporter: Reporter,
) -> Table:
    total = len(held_out.prompts) * how.sampling.samples_per_prompt
    count = reporter.counter(total, "Responses", f"Judging of {name}")
    return score(_folder(store, name), "scores", rollouts, rewards=how.names, pool=pool, on_row=count)


def _answers(
    store: Store,
    name: str,
    engines: Held[EnginePool],
    variant: int,
    held_out: HeldOut,
    how: Measurement,
    reporter: Reporter,
) -> Table:
    answered = reporter.counter(len(held_out.prompts), "Prompts", f"Evaluation of {name}")
    return sample(
        _folder(store, name),
        "rollouts",
        held_out.prompts,
        pool=engines,
        sampling=how.sampling,
        variant=variant,
        on_row=lambda _: answered(1),
    )


def _folder(store: Store, name: str) -> Store:
    return store.child(f"evaluation/{name}")


def calibration(store: Store, how: Measurement, sources: list[RolloutSource], base: Table) -> Calibration:
    """The rollout job's frozen calibration; rewards that it lacks are fitted once on the base policy's scores."""
    frozen = read_json(store, CALIBRATION)
    if frozen is not None:
        return Calibration.from_json(frozen)
    curves = dict(sources[0].calibration.curves) if sources else {}
    own = [reward for reward in how.rewards if reward.name not in curves]
    raw: dict[str, list[float | None]] = {reward.name: [] for reward in own}
    for row in base.rows(["id", *raw]):
        for name, values in raw.items():
            values.extend(row[name])
    lower = {reward.name for reward in own if reward.lower_is_better}
    made = Calibration(curves | dict(Calibration.fit(raw, lower).curves))
    write_json(store, CALIBRATION, made.to_json())
    return made


def per_prompt(scores: Table, prompts: Sequence[str], how: Measurement, frozen: Calibration) -> NDArray[np.float64]:
    """[P, R] mean calibrated score of each prompt's samples on every reward; NaN where there is none."""
    rows = {row["id"]: calibrated(row, how.names, frozen) for row in scores.rows()}
    missing = np.full(len(how.names), np.nan)
    return np.stack([present_mean(rows[name]) if len(rows.get(name, ())) else missing for name in prompts])
