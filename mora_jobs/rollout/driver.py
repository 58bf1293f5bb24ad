"""RolloutJob, from top to bottom: prompts → rollouts → scores → calibration → weights → isolation → status.

Every step is an artifact below spec.output.uri; a step whose artifact is there is not done again.
"""

import logging

from mora_jobs import api
from mora_jobs.api.rollout import RolloutResult
from mora_jobs.artifacts.document import read_json, write_json
from mora_jobs.artifacts.identity import claim, complete, is_complete
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.engines.base import Completion
from mora_jobs.engines.pool import EnginePool
from mora_jobs.generation.prompts import digest_prompts, read_prompts
from mora_jobs.generation.rollouts import rollout_table, sample
from mora_jobs.generation.scores import score
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rewards.aggregation import entropies, weights
from mora_jobs.rewards.calibration import Calibration
from mora_jobs.rewards.early import check_callables
from mora_jobs.rewards.pool import RewardPool
from mora_jobs.rollout.analysis import analyse
from mora_jobs.rollout.summary import Tally, column, summarise

ENCORE = api.AggregationMethod.ENCORE
log = logging.getLogger(__name__)


def run(resolved: api.ResolvedJob, reporter: Reporter) -> RolloutResult:
    """Run the job; raises UserError for what its author can put right."""
    job = resolved.job
    assert isinstance(job, api.RolloutJob)
    spec, names = job.spec, [reward.name for reward in job.spec.rewards]

    # All of the input is looked at once before anything is written, so that a mistake costs nothing.
    total, digest = digest_prompts(spec.prompts, resolved)
    store = Store(spec.output.uri)
    if is_complete(store) is None:
        check_callables(spec.rewards, resolved.import_paths)
    claim(store, api.identity(resolved, prompts=digest), spec.output.overwrite_policy.value, job.metadata.uid)
    if is_complete(store) is not None:
        log.info("already complete: %s", store.uri)
        return RolloutResult.model_validate(read_json(store, "status.json"))

    rollouts = _sample(resolved, spec, store, reporter, total)
    scores = _score(resolved, spec, store, reporter, rollouts)
    calibration = _calibrate(store, spec, scores)
    weighting, entropy = _weigh(store, spec, scores)
    samples = spec.sampling.samples_per_prompt
    isolation, curves = analyse(store, names, samples, spec.isolation, scores, calibration)

    result = summarise(spec, rollouts, scores, calibration, weighting, entropy, isolation, curves)
    write_json(store, "status.json", result.to_dict())
    complete(store, {"rollouts": rollouts.digest(), "scores": scores.digest()})
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


def _score(
    resolved: api.ResolvedJob, spec: api.RolloutSpec, store: Store, reporter: Reporter, rollouts: Table
) -> Table:
    answered = sum(row["error"] is None for row in rollouts.rows(["error"]))
    total = answered * spec.sampling.samples_per_prompt
    return score(
        store,
        "scores",
        rollouts,
        rewards=[reward.name for reward in spec.rewards],
        pool=RewardPool(spec.rewards, resolved.import_paths, spec.credentials),
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


def _weigh(store: Store, spec: api.RolloutSpec, scores: Table) -> tuple[dict[str, float], dict[str, float | None]]:
    """Weights of the overall score, and the entropies that ENCORE takes them from (empty for other methods)."""
    raw = {reward.name: column(scores, reward.name) for reward in spec.rewards}
    found = weights(spec.aggregation, spec.rewards, raw)
    entropy = entropies(spec.aggregation, spec.rewards, raw) if spec.aggregation.method is ENCORE else {}
    write_json(store, "weights.json", {"weights": found, "entropies": entropy})
    return found, entropy
