"""A rewritten prompt asks for something else, so where weights hang on the prompt's text it gets weights of its own."""

from mora_jobs import api
from mora_jobs.artifacts.document import read_json
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError
from mora_jobs.rewards.aggregation.adapter import Adapter
from mora_jobs.rewards.aggregation.per_prompt import ADAPTER, open_encoder, write_prompt_weights


def weigh_rewrites(source: api.RolloutJob, store: Store, final: Table) -> dict[str, str]:
    """Ask the adapter of the rollout job `source` about the rewritten prompts of `final`; the digest of what was written.

    Nothing is written where the rollout job weighs all prompts alike or no prompt was rewritten.
    """
    encoder = source.spec.aggregation.encoder
    rewritten = [(row["id"], row["prompt"]) for row in final.rows(["id", "prompt", "rewritten"]) if row["rewritten"]]
    if encoder is None or not rewritten:
        return {}
    fitted = read_json(Store(source.spec.output.uri), ADAPTER)
    if fitted is None:
        raise UserError(f"RolloutJob/{source.metadata.name}", f"has no {ADAPTER}", "run it to its end first")
    adapter = Adapter.from_json(fitted)
    return {"prompt-weights": write_prompt_weights(store, adapter, open_encoder(encoder), rewritten).digest()}
