"""Measuring a policy: rollouts of the held-out prompts, scored and calibrated; the same seeds for every policy."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mora_jobs import api
from mora_jobs.align.heldout import HeldOut
from mora_jobs.align.pools import RolloutSource
from mora_jobs.artifacts.document import read_json, write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError
from mora_jobs.estimators.bootstrap import present_mean
from mora_jobs.generation.rollouts import sample
from mora_jobs.generation.scores import calibrated, score, score_table
from mora_jobs.rewards.calibration import Calibration
from mora_jobs.rewards.pool import RewardPool

CALIBRATION = "evaluation/calibration.json"
OnItem = Callable[[str, str, int, int], None]
"""(stage, policy, done, total)"""


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
    on_item: OnItem,
) -> dict[str, Table]:
    """Raw scores of each policy, as the tables evaluation/<name>/rollouts and …/scores. Resumable at every prompt.

    All policies answer before any is scored: the reward models are loaded once.
    """
    rollouts = {name: _answers(store, name, model, held_out, how, on_item) for name, model in models.items()}
    tables = {name: score_table(_folder(store, name), how.names) for name in models}
    waiting = [name for name in models if tables[name].committed() < rollouts[name].committed()]
    total = len(held_out.prompts) * how.sampling.samples_per_prompt
    with RewardPool(how.rewards, import_paths, how.credentials) if waiting else nullcontext() as pool:
        for name in waiting:
            done = 0

            def count(items: int, name: str = name) -> None:
                nonlocal done
                done += items
                on_item("Judging", name, done, total)

            score(_folder(store, name), "scores", rollouts[name], rewards=how.rewards, on_row=count, pool=pool)
    return tables


def _answers(
    store: Store, name: str, model: api.ModelRef, held_out: HeldOut, how: Measurement, on_item: OnItem
) -> Table:
    done = 0

    def count(_: object) -> None:
        nonlocal done
        done += 1
        on_item("Evaluation", name, done, len(held_out.prompts))

    return sample(
        _folder(store, name),
        "rollouts",
        held_out.prompts,
        model=model,
        engine=how.engine,
        sampling=how.sampling,
        replicas=how.replicas,
        on_row=count,
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
