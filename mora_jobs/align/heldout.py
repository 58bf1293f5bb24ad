"""The prompts that policies are measured on, and that no pair may come from."""

import logging
from dataclasses import dataclass

from mora_jobs import api
from mora_jobs.align.pools import RolloutSource, chosen_share
from mora_jobs.generation.prompts import Prompt, read_prompts

log = logging.getLogger(__name__)

SHARE = 0.1
MOST = 256


@dataclass(frozen=True)
class HeldOut:
    """Evaluation prompts, and which training prompts they forbid."""

    prompts: tuple[Prompt, ...]
    ids: frozenset[str]
    texts: frozenset[str]

    def forbids(self, name: str, *texts: str) -> bool:
        """Whether the prompt of that id is measured on, or one of the texts: its own, and what it was rewritten from."""
        return name in self.ids or not self.texts.isdisjoint(texts)


def held_out(resolved: api.ResolvedJob, spec: api.AlignmentSpec, sources: list[RolloutSource]) -> HeldOut:
    """The prompts of spec.evaluation; without it a tenth of the rollout job's (at most MOST), kept out of the pairs."""
    if spec.evaluation is not None:
        prompts = tuple(read_prompts(spec.evaluation.prompts, resolved))
        return HeldOut(prompts, frozenset(), frozenset(prompt.text for prompt in prompts))
    source = sources[0]  # CEL asks for an evaluation where there is no rollout job
    prompts = tuple(read_prompts(source.job.spec.prompts, resolved))
    if len(prompts) < 2:
        log.warning("there is one prompt only: the policy is measured on what it was trained on")
        return HeldOut(prompts, frozenset(), frozenset())
    share = min(max(SHARE, 1 / len(prompts)), MOST / len(prompts))
    chosen = chosen_share([prompt.id for prompt in prompts], share, spec.trainer.seed)
    kept = tuple(prompt for prompt in prompts if prompt.id in chosen)
    log.info("no spec.evaluation: %d of %d prompts are kept out of training to measure on", len(kept), len(prompts))
    return HeldOut(kept, frozenset(chosen), frozenset(prompt.text for prompt in kept))
