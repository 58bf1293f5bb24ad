"""Measuring a policy: rollouts of the held-out prompts, scored and calibrated; the same seeds for every policy."""

from collections.abc import Callable, Sequence
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
from mora_jobs.generation.scores import calibrated, score
from mora_jobs.rewards.calibration import Calibration

CALIBRATION = "evaluation/calibration.json"
OnItem = Callable[[str, int, int], None]
"""(stage, done, total)"""


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
    name: str,
    model: api.ModelRef,
    held_out: HeldOut,
    how: Measurement,
    import_paths: Sequence[str],
    on_item: OnItem,
) -> Table:
    """Raw scores of a policy, as the tables evaluation/<name>/rollouts and …/scores. Resumable at every prompt."""
    own = store.child(f"evaluation/{name}")
    prompts = len(held_out.prompts)
    done = {"Evaluation": 0, "Judging": 0}

    def count(stage: str, total: int, items: int = 1) -> None:
        done[stage] += items
        on_item(stage, done[stage], total)

    rollouts = sample(
        own,
        "rollouts",
        held_out.prompts,
        model=model,
        engine=how.engine,
        sampling=how.sampling,
        replicas=how.replicas,
        on_row=lambda _: count("Evaluation", prompts),
    )
    total = prompts * how.sampling.samples_per_prompt
    return score(
        own,
        "scores",
        rollouts,
        rewards=how.rewards,
        import_paths=import_paths,
        credentials=how.credentials,
        on_row=lambda items: count("Judging", total, items),
    )


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
