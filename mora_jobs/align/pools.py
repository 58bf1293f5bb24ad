"""What pairs are made of: each prompt with its rollouts and their calibrated scores, from the jobs that are referred to."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mora_jobs import api
from mora_jobs.api.training import AlignmentData
from mora_jobs.artifacts.document import canonical, read_json
from mora_jobs.artifacts.identity import is_complete
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError
from mora_jobs.generation.prompts import Prompt, read_prompts
from mora_jobs.generation.rollouts import rollout_table
from mora_jobs.generation.schemas import FINAL_PROMPTS
from mora_jobs.generation.scores import calibrated, score_table
from mora_jobs.rewards.aggregation import PromptWeights, weights_for
from mora_jobs.rewards.calibration import Calibration

REWRITTEN = "Rewritten"
KEPT = "KeptOriginal"


@dataclass(frozen=True)
class Pool:
    """One prompt with its N rollouts. `u` [N, R]: calibrated scores of all rewards of the job, NaN where missing."""

    id: str
    kind: str
    """The class that the rollout job gave the prompt, or Rewritten, or KeptOriginal (the raw prompt beside its rewrite)."""
    messages: tuple[dict[str, str], ...]
    responses: tuple[str, ...]
    ended: tuple[bool, ...]
    """Whether the rollout ended by itself; False: it was cut at maxTokens."""
    u: NDArray[np.float64]
    source: str
    """Id of the prompt in the prompt file."""
    original: str
    """Text of the prompt in the prompt file."""
    weights: NDArray[np.float64]
    """[R] of the overall score of this prompt's rollouts, ≥ 0, summing to 1."""


class RolloutSource:
    """The artifacts of a finished RolloutJob, and those of a RewriteJob made from it."""

    def __init__(self, resolved: api.ResolvedJob, job: api.RolloutJob, rewrite: api.RewriteJob | None = None) -> None:
        self.job, self.rewrite = job, rewrite
        self.store = Store(job.spec.output.uri)
        self.rewards = [reward.name for reward in job.spec.rewards]
        self._resolved = resolved
        self.digests = {self.name: _finished(self.store, f"RolloutJob/{job.metadata.name}")}
        if rewrite is not None:
            self.digests[f"{self.name}-rewrites"] = _finished(
                Store(rewrite.spec.output.uri), f"RewriteJob/{rewrite.metadata.name}"
            )
        self.calibration = Calibration.from_json(read_json(self.store, "calibration.json"))
        self._weights = weights_for(self.store, self.rewards)

    @property
    def name(self) -> str:
        """Of the rollout job."""
        return self.job.metadata.name

    def require(self, objectives: Iterable[str]) -> None:
        """UserError when one of the objectives is none of the job's rewards."""
        unknown = [name for name in objectives if name not in self.rewards]
        if unknown:
            raise UserError(
                f"spec.objectives[{unknown[0]}]",
                f"RolloutJob/{self.name} has no such reward, it has {', '.join(self.rewards)}",
                "use one of its rewards",
            )

    def pools(self, keep_share: float, seed: int) -> Iterator[Pool]:
        """Stream the prompts that have scored rollouts, in commit order.

        A rewritten prompt replaces its original, except that `keep_share` of them (chosen by a hash of seed and id) are
        kept beside their rewrite, so that raw prompts stay in training.
        """
        prompts = {prompt.id: prompt for prompt in read_prompts(self.job.spec.prompts, self._resolved)}
        kinds = _classes(self.store)
        rewritten, untouched = ({}, set(prompts)) if self.rewrite is None else self._final(self.rewrite)
        kept = chosen_share(sorted(rewritten), keep_share, seed)

        def pool(row: _Scored, prompt: Prompt, name: str, kind: str, weights: PromptWeights = self._weights) -> Pool:
            text = prompts[row.id].text
            return Pool(name, kind, prompt.messages, row.texts, row.ended, row.u, row.id, text, weights(row.id))

        for row in _scored(self.store, self.rewards, self.calibration):
            if row.id in untouched:
                yield pool(row, prompts[row.id], row.id, kinds.get(row.id, ""))
            elif row.id in kept:
                yield pool(row, prompts[row.id], f"{row.id}~original", KEPT)
        if self.rewrite is not None and rewritten:
            rewrites = Store(self.rewrite.spec.output.uri)
            weights = weights_for(self.store, self.rewards, rewrites)
            for row in _scored(rewrites, self.rewards, self.calibration):
                if row.id in rewritten:
                    yield pool(row, prompts[row.id].with_text(rewritten[row.id]), row.id, REWRITTEN, weights)

    def _final(self, rewrite: api.RewriteJob) -> tuple[dict[str, str], set[str]]:
        """New texts by id, and the ids that were left as they are. Control DropOnly leaves prompts out of both."""
        store = Store(rewrite.spec.output.uri)
        final = list(Table(store, "prompts", FINAL_PROMPTS).rows(["id", "prompt", "rewritten"]))
        if not final:
            raise UserError(
                store.uri, f"RewriteJob/{rewrite.metadata.name} has no prompts here", "let that job finish"
            )
        return (
            {row["id"]: row["prompt"] for row in final if row["rewritten"]},
            {row["id"] for row in final if not row["rewritten"]},
        )


@dataclass(frozen=True)
class _Scored:
    id: str
    texts: tuple[str, ...]
    ended: tuple[bool, ...]
    u: NDArray[np.float64]


def _scored(store: Store, rewards: list[str], calibration: Calibration) -> Iterator[_Scored]:
    """Prompts with rollouts and scores. Scores are held in memory, texts are streamed."""
    scores = {row["id"]: calibrated(row, rewards, calibration) for row in score_table(store, rewards).rows()}
    for row in rollout_table(store).rows(["id", "samples"]):
        u = scores.get(row["id"])
        if u is not None and len(row["samples"]) == len(u) > 0:
            texts = tuple(sample["text"] for sample in row["samples"])
            yield _Scored(row["id"], texts, tuple(sample["finish"] == "Stop" for sample in row["samples"]), u)


def _finished(store: Store, job: str) -> str:
    """The digest of what a job finished with; UserError when it has not."""
    outputs = is_complete(store)
    if outputs is None:
        raise UserError(store.uri, f"{job} has not finished here", "run it first")
    return f"sha256:{hashlib.sha256(canonical(outputs)).hexdigest()}"


def rollout_sources(resolved: api.ResolvedJob, data: AlignmentData) -> list[RolloutSource]:
    """The jobs that `data` refers to. A rewrite job stands for its source, so that prompt is not there twice."""
    sources: list[RolloutSource] = []
    if data.rewrite_job_ref is not None:
        rewrite = resolved.rewrite_job(data.rewrite_job_ref.name)
        source = resolved.rollout_job(rewrite.spec.source.rollout_job_ref.name)
        sources.append(RolloutSource(resolved, source, rewrite))
    if data.rollout_job_ref is not None and all(
        data.rollout_job_ref.name != source.job.metadata.name for source in sources
    ):
        sources.append(RolloutSource(resolved, resolved.rollout_job(data.rollout_job_ref.name)))
    return sources


def chosen_share(names: list[str], share: float, seed: int) -> set[str]:
    """round(share · n) of the names, by a hash of the seed and the name: no order and no other name decides."""
    ranked = sorted(
        names, key=lambda name: hashlib.sha256(f"{seed}\n{name}".encode("utf-8", "surrogatepass")).digest()
    )
    return set(ranked[: round(share * len(names))])


def _classes(store: Store) -> dict[str, str]:
    if read_json(store, "analysis/table.json") is None:
        return {}
    return {row["id"]: row["class"] for row in Table.open(store, "analysis").rows(["id", "class"])}
