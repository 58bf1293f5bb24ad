"""How much each reward counts in the overall score: the method of spec.aggregation, on the scores of this job.

Artifact: weights.json, and those of labelled_pairs.py and prompt_rules.py.
"""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from mora_jobs import api
from mora_jobs.api import AggregationMethod as Method
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rewards.aggregation import Weighting
from mora_jobs.rewards.aggregation.encore import encore, entropies, least_entropy
from mora_jobs.rewards.aggregation.plain import fixed, one_hot, random, uniform
from mora_jobs.rewards.aggregation.rated import ratings_of_heads
from mora_jobs.rewards.calibration import Calibration
from mora_jobs.rollout.labelled_pairs import digest_preferences, learn_weights
from mora_jobs.rollout.prompt_rules import weigh_prompts
from mora_jobs.rollout.summary import column

if TYPE_CHECKING:
    from mora_jobs.rewards.pool import RewardPool

RULES = 5  # of RuleAdapter, as in the paper


def digest_inputs(spec: api.RolloutSpec) -> dict[str, str]:
    """Look at what the method reads besides scores, before anything is written; the digest of each such input.

    Raises UserError for what is wrong in the file of preferences.
    """
    preferences = spec.aggregation.preferences
    return {} if preferences is None else {"preferences": digest_preferences(preferences)}


def weigh(
    spec: api.RolloutSpec,
    store: Store,
    rollouts: Table,
    scores: Table,
    calibration: Calibration,
    pool: AbstractContextManager["RewardPool"],
    reporter: Reporter,
) -> Weighting:
    """The weights of the overall score, also written to weights.json. `pool` is of the job's rewards."""
    aggregation, names = spec.aggregation, [reward.name for reward in spec.rewards]
    match aggregation.method:
        case Method.UNIFORM:
            found = Weighting(uniform(names))
        case Method.FIXED:
            found = Weighting(fixed(names, {each.name: each.weight for each in aggregation.weights}))
        case Method.RANDOM:
            found = Weighting(random(names, aggregation.seed or 0))
        case Method.SINGLE if aggregation.reward is not None:
            found = Weighting(one_hot(names, aggregation.reward))
        case Method.SINGLE:
            entropy = _entropies(spec, scores)
            found = Weighting(least_entropy(entropy), entropy)
        case Method.ENCORE:
            entropy = _entropies(spec, scores)
            found = Weighting(encore(entropy, aggregation.temperature), entropy)
        case Method.LEARNED:
            assert aggregation.preferences is not None, "checked by validation"
            found = learn_weights(aggregation.preferences, store, names, calibration, pool, reporter)
        case Method.RULE_ADAPTER:
            assert aggregation.encoder is not None, "checked by validation"
            rules = aggregation.rules or RULES
            found = weigh_prompts(aggregation.encoder, rules, store, names, rollouts, scores, calibration)
    found.write(store, aggregation.method.value)
    return found


def _entropies(spec: api.RolloutSpec, scores: Table) -> dict[str, float | None]:
    raw = {reward.name: column(scores, reward.name) for reward in spec.rewards}
    return entropies(spec.rewards, raw, spec.aggregation.bins, ratings_of_heads(spec.rewards))
