"""Candidates: every rewrite that is tried, with the reason for which it is out, committed prompt by prompt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from mora_jobs import api
from mora_jobs.api.rewrite import Control, RewriteSpec
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.engines.base import Request, request_seed
from mora_jobs.engines.pool import EnginePool
from mora_jobs.generation.appender import Appender
from mora_jobs.rewrite.checks import parse, reject
from mora_jobs.rewrite.instructions import (
    PARAPHRASE,
    PARAPHRASE_PATTERN,
    REWRITE,
    SELF_REWRITE,
    Target,
    render,
    word_limit,
)

CANDIDATES = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("dimension", pa.string()),
        ("candidates", pa.list_(pa.struct([("text", pa.string()), ("source", pa.string()), ("reason", pa.string())]))),
    ]
)


@dataclass(frozen=True)
class Candidate:
    """A rewrite that passed the checks of its text. `id` is the prompt's id, a tilde and the candidate's number."""

    id: str
    target: str
    text: str


def write_candidates(
    store: Store,
    spec: RewriteSpec,
    template: str | None,
    policy: api.ModelRef,
    targets: Sequence[Target],
    defined: Mapping[str, str],
    on_row: Callable[[int], None],
) -> Table:
    """Rewrite each target that the table does not hold yet; one row per target with all its candidates.

    `template` is the manifest's own instruction, `policy` the model under control SelfRewrite.
    """
    table = Table(store, "candidates", CANDIDATES)
    done = table.committed()
    todo = [target for target in targets if target.id not in done]
    if not todo:
        return table
    with Appender(table) as rows:
        for target, texts in _rewrites(spec, template, policy, todo, defined):
            limit = word_limit(target.prompt, spec.max_length_ratio, spec.length_floor_words)
            seen: set[str] = set()
            tried = []
            for source, text in texts:
                reason = "Duplicate" if text is not None and text in seen else reject(target, text, limit)
                seen.add(text or "")
                tried.append({"text": text or "", "source": source, "reason": reason})
            rows.add({"id": target.id, "prompt": target.prompt, "dimension": target.dimension, "candidates": tried})
            on_row(len(tried))
    return table


def passed(table: Table) -> list[Candidate]:
    """All candidates whose text passed."""
    return [
        Candidate(f"{row['id']}~{number}", row["id"], candidate["text"])
        for row in table.rows()
        for number, candidate in enumerate(row["candidates"])
        if candidate["reason"] is None
    ]


Rewrites = Iterator[tuple[Target, list[tuple[str, str | None]]]]  # (source, text or None) of each candidate


def _rewrites(
    spec: RewriteSpec,
    template: str | None,
    policy: api.ModelRef,
    targets: Sequence[Target],
    defined: Mapping[str, str],
) -> Rewrites:
    if spec.rewriter.templates is not None:
        return _by_patterns(spec, targets, defined)
    return _by_model(spec, template, policy, targets, defined)


def _by_patterns(spec: RewriteSpec, targets: Sequence[Target], defined: Mapping[str, str]) -> Rewrites:
    patterns = spec.rewriter.templates or []
    for target in targets:
        limit = word_limit(target.prompt, spec.max_length_ratio, spec.length_floor_words)
        if spec.control is Control.PARAPHRASE:
            yield target, [("paraphrase", render(PARAPHRASE_PATTERN, "control Paraphrase", target, defined, limit))]
            continue
        fitting = [p for p in patterns if p.dimension is None or p.dimension in target.missing]
        yield (
            target,
            [
                (
                    p.name,
                    " ".join(render(p.template, f"spec.rewriter.templates[{p.name}]", target, defined, limit).split()),
                )
                for p in fitting[: spec.candidates_per_prompt]
            ],
        )


def _by_model(
    spec: RewriteSpec,
    template: str | None,
    policy: api.ModelRef,
    targets: Sequence[Target],
    defined: Mapping[str, str],
) -> Rewrites:
    rewriter = spec.rewriter
    model = policy if spec.control is Control.SELF_REWRITE else (rewriter.model or rewriter.open_ai_compatible)
    assert model is not None, "exactly one rewriter: checked by validation"
    instruction = template or {Control.PARAPHRASE: PARAPHRASE, Control.SELF_REWRITE: SELF_REWRITE}.get(
        spec.control, REWRITE
    )
    by_id = {target.id: target for target in targets}

    def requests() -> Iterator[Request]:
        for target in targets:
            limit = word_limit(target.prompt, spec.max_length_ratio, spec.length_floor_words)
            text = render(instruction, "spec.template", target, defined, limit)
            seed = request_seed(rewriter.sampling.seed, target.id)
            yield Request(target.id, ({"role": "user", "content": text},), spec.candidates_per_prompt, seed)

    with EnginePool(model, rewriter.engine, rewriter.sampling, credentials=spec.credentials) as pool:
        for completion in pool.generate(requests()):
            answers: list[tuple[str, str | None]] = [("model", parse(sample.text)) for sample in completion.samples]
            yield by_id[completion.id], answers
