"""RolloutJob, from top to bottom: prompts → rollouts → scores → calibration → weights → isolation → status.

Every step is an artifact below spec.output.uri; a step whose artifact is there is not done again.
"""

import logging
from contextlib import closing

from mora_jobs import api
from mora_jobs.api.rollout import RolloutResult
from mora_jobs.artifacts.document import read_json, write_json
from mora_jobs.artifacts.identity import claim, complete, is_complete
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.engines.base import Completion
from mora_jobs.engines.pool import EnginePool
from mora_jobs.generation.held import Held
from mora_jobs.generation.prompts import digest_prompts, read_prompts
from mora_jobs.generation.rollouts import rollout_table, sample
from mora_jobs.generation.scores import score
from mora_jobs.models import fetch
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rewards.calibration import Calibration
from mora_jobs.rewards.early import check_callables
from mora_jobs.rewards.pool import RewardPool
from mora_jobs.rollout.analysis import analyse
from mora_jobs.rollout.summary import Tally, column, summarise
from mora_jobs.rollout.weighting import digest_inputs, weigh

log = logging.getLogger(__name__)


def run(resolved: api.ResolvedJob, reporter: Reporter) -> RolloutResult:
    """Run the job; raises UserError for what its author can put right."""
    job = resolved.job
    assert isinstance(job, api.RolloutJob)
    spec, names = job.spec, [reward.name for reward in job.spec.rewards]

    # All of the input is looked at once before anything is written, so that a mistake costs nothing.
    total, digest = digest_prompts(spec.prompts, resolved)
    inputs = {"prompts": digest, **digest_inputs(spec)}
    store = Store(spec.output.uri)
    if is_complete(store) is None:
        check_callables(spec.rewards, resolved.import_paths)
        if spec.aggregation.encoder is not None:
            fetch(spec.aggregation.encoder)
    claim(store, api.identity(resolved, **inputs), spec.output.overwrite_policy.value, job.metadata.uid)
    if is_complete(store) is not None:
        log.info("already complete: %s", store.uri)
        return RolloutResult.model_validate(read_json(store, "status.json"))

    rollouts = _sample(resolved, spec, store, reporter, total)
    with closing(Held(lambda: RewardPool(spec.rewards, resolved.import_paths, spec.credentials))) as pool:
        scores = _score(spec, store, reporter, rollouts, pool)
        calibration = _calibrate(store, spec, scores)
        weighting = weigh(spec, store, rollouts, scores, calibration, pool, reporter)
    samples = spec.sampling.samples_per_prompt
    isolation, curves = analyse(store, names, samples, spec.isolation, scores, calibration)

    result = summarise(spec, rollouts, scores, calibration, weighting, isolation, curves)
    write_json(store, "status.json", result.to_dict())
    complete(store, {"rollouts": rollouts.digest(), "scores": scores.digest(), **weighting.digests})
    return result


def _sample(resolved: api.ResolvedJob, spec: api.RolloutSpec, store: Store, reporter: Reporter, total: int) -> Table:
    tally = Tally.of(rollout_table(store), total)
    reporter.update(tally.finished, total, "Prompts", stage="Rollouts", status=tally.result())

    def count(completion: Completion) -> None:
        tally.add(completion)
        reporter.update(
            tally.finished,
            total,
            "Prompts",
            stage="Rollouts",
            failed=tally.failed,
            status=tally.result(),
            metrics=tally.rates(),
        )

    return sample(
        store,
        "rollouts",
        read_prompts(spec.prompts, resolved),
        pool=EnginePool(spec.model, spec.engine, spec.sampling, spec.most_replicas),
        sampling=spec.sampling,
        on_row=count,
    )


def _score(spec: api.RolloutSpec, store: Store, reporter: Reporter, rollouts: Table, pool: Held[RewardPool]) -> Table:
    answered = sum(row["error"] is None for row in rollouts.rows(["error"]))
    total = answered * spec.sampling.samples_per_prompt
    return score(
        store,
        "scores",
        rollouts,
        rewards=[reward.name for reward in spec.rewards],
        pool=pool,
        on_row=reporter.counter(total, "Responses", "Scores"),
    )


def _calibrate(store: Store, spec: api.RolloutSpec, scores: Table) -> Calibration:
    """Fitted once on this job's own rollouts and frozen: rewriting and alignment are measured on the same scale."""
    frozen = read_json(store, "calibration.json")
    if frozen is not None:
        return Calibration.from_json(frozen)
    lower = {reward.name for reward in spec.rewards if reward.lower_is_better}
    calibration = Calibration.fit({reward.name: column(scores, reward.name) for reward in spec.rewards}, lower)
    write_json(store, "calibration.json", calibration.to_json())
    return calibration
