"""RewriteJob, from top to bottom: targets → candidates → checks → closeness → two proofs → choice → gain → prompts.

Every step that costs something is a table below spec.output.uri; what it already holds is not done again. The steps in
between are functions of the tables.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from mora_jobs import api
from mora_jobs.api.rewrite import Control, RewriteCounts, RewriteResult, RewriteSpec
from mora_jobs.api.status import PromptCounts
from mora_jobs.artifacts.document import read_json, write_json
from mora_jobs.artifacts.identity import claim, complete, is_complete
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError
from mora_jobs.generation.appender import Appender
from mora_jobs.generation.prompts import Prompt, read_prompts
from mora_jobs.generation.schemas import FINAL_PROMPTS
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rewrite import gains
from mora_jobs.rewrite.bench import Bench, Figures
from mora_jobs.rewrite.candidates import Candidate, passed, write_candidates
from mora_jobs.rewrite.closeness import judged_off, similarities, too_far_or_close
from mora_jobs.rewrite.instructions import Target, definitions
from mora_jobs.rewrite.proof import choose, compare
from mora_jobs.rewrite.targets import find_targets
from mora_jobs.rewrite.weights import weigh_rewrites

log = logging.getLogger(__name__)

Reasons = dict[str, str | None]  # candidate id → why it was rejected, or None


def run(resolved: api.ResolvedJob, reporter: Reporter) -> RewriteResult:
    """Run the job; raises UserError for what its author can put right."""
    job = resolved.job
    assert isinstance(job, api.RewriteJob)
    spec = job.spec
    source = resolved.rollout_job(spec.source.rollout_job_ref.name)
    outputs = is_complete(Store(source.spec.output.uri))
    if outputs is None:
        raise UserError(f"RolloutJob/{source.metadata.name}", "has not finished", "run it first")

    dimensions = [reward.name for reward in source.spec.rewards]
    _known_dimensions(spec, dimensions)

    store = Store(spec.output.uri)
    claim(store, api.identity(resolved, rollouts=str(outputs)), spec.output.overwrite_policy.value, job.metadata.uid)
    if is_complete(store) is not None:
        log.info("already complete: %s", store.uri)
        return RewriteResult.model_validate(read_json(store, "status.json"))

    prompts = {prompt.id: prompt for prompt in read_prompts(source.spec.prompts, resolved)}
    seed = source.spec.sampling.seed
    targets = {
        target.id: target for target in find_targets(spec, Store(source.spec.output.uri), prompts, dimensions, seed)
    }
    log.info("%d of %d prompts are to be rewritten", len(targets), len(prompts))
    if not targets or spec.control is Control.DROP_ONLY:
        result = RewriteResult(rewrites=RewriteCounts(prompts=_counts(targets)))
        return _finish(store, source, result, _final(store, prompts, targets, {}, spec))

    candidates, reasons = _candidates(resolved, spec, store, source, list(targets.values()), dimensions, reporter)
    candidates = _close(spec, candidates, targets, reasons)
    with Bench(store, source, spec.validation.samples_per_prompt, resolved.import_paths, reporter) as bench:
        chosen, result = _prove(store, spec, bench, seed, prompts, targets, candidates, reasons)
    return _finish(store, source, result, _final(store, prompts, targets, chosen, spec))


def _prove(
    store: Store,
    spec: RewriteSpec,
    bench: Bench,
    seed: int,
    prompts: Mapping[str, Prompt],
    targets: Mapping[str, Target],
    candidates: list[Candidate],
    reasons: Reasons,
) -> tuple[dict[str, Candidate], RewriteResult]:
    """The rewrite chosen for each target, and the job's result: proven under two seeds, measured under a third.

    None of them is the rollout job's: its own draw is what made these prompts look single-reward.
    """
    dimensions = bench.dimensions

    def drawn(folder: str, survivors: Sequence[Candidate], fresh: int, stage: str) -> dict[str, Figures]:
        originals = [prompts[i] for i in sorted({candidate.target for candidate in survivors})]
        rewrites = [_rewritten(prompts[candidate.target], candidate) for candidate in survivors]
        return bench.measure(folder, [*originals, *rewrites], seed + fresh, stage) if survivors else {}

    screening = drawn("screening", candidates, 1, "Screening")
    by_target: dict[str, list[str]] = {}
    for candidate in candidates:
        by_target.setdefault(candidate.target, []).append(candidate.id)
    unchosen = gains.unselected(by_target, screening, dimensions)
    candidates = _keep(candidates, compare(candidates, targets, screening, dimensions, spec.validation), reasons)

    replication = drawn("replication", candidates, 2, "Replication")
    verdicts = compare(candidates, targets, replication, dimensions, spec.validation)
    candidates = _keep(candidates, {i: v and f"Replication{v}" for i, v in verdicts.items()}, reasons)

    chosen = choose(candidates, [screening, replication])
    reasons |= {c.id: "NotBest" for c in candidates if chosen[c.target] is not c}
    originals = bench.measure("originals", [prompts[i] for i in sorted(chosen)], seed + 3, "Report")
    rewritten = bench.measure("", [prompts[i].with_text(chosen[i].text) for i in sorted(chosen)], seed + 3, "Report")
    pairs = [(originals[i], rewritten[i]) for i in sorted(chosen)]

    measured = gains.measure_gain(pairs, dimensions)
    result = RewriteResult(
        rewrites=RewriteCounts(
            prompts=_counts(targets),
            candidates=len(reasons),
            accepted=len(chosen),
            rejected=dict(sorted(Counter(reason for reason in reasons.values() if reason).items())),
        ),
        gain=gains.status(measured, len(pairs), dimensions) if pairs else None,
    )
    document = {
        "accepted": gains.document(measured, len(pairs)) if pairs else None,
        "unselected": gains.document(gains.measure_gain(unchosen[0], dimensions), unchosen[1])
        if unchosen[1]
        else None,
        "reasons": reasons,
    }
    write_json(store, "gains.json", document)
    return chosen, result


def _known_dimensions(spec: RewriteSpec, dimensions: Sequence[str]) -> None:
    named = [intent.dimension for intent in spec.intents]
    named += [t.dimension for t in spec.rewriter.templates or [] if t.dimension is not None]
    for name in named:
        if name not in dimensions:
            raise UserError(
                "spec.intents", f"{name!r} is no reward of the rollout job", f"it has {', '.join(dimensions)}"
            )


def _candidates(
    resolved: api.ResolvedJob,
    spec: RewriteSpec,
    store: Store,
    source: api.RolloutJob,
    targets: Sequence[Target],
    dimensions: Sequence[str],
    reporter: Reporter,
) -> tuple[list[Candidate], Reasons]:
    """Those whose text passed, and the reasons of all."""
    rewritten = reporter.counter(len(targets), "Prompts", "Rewrites")
    defined = definitions(dimensions, {intent.dimension: intent.definition for intent in spec.intents})
    template = _template(spec, resolved)
    table = write_candidates(store, spec, template, source.spec.model, targets, defined, lambda _: rewritten(1))
    reasons: Reasons = {
        f"{row['id']}~{number}": candidate["reason"]
        for row in table.rows()
        for number, candidate in enumerate(row["candidates"])
    }
    return passed(table), reasons


def _template(spec: RewriteSpec, resolved: api.ResolvedJob) -> str | None:
    """The manifest's own instruction: a ConfigMap is a folder of files, mounted in a cluster or beside the manifest."""
    if spec.template is None:
        return None
    ref = spec.template.config_map_ref
    for folder in resolved.import_paths:
        try:
            return Store(f"file://{folder}").read(f"{ref.name}/{ref.key}").decode()
        except FileNotFoundError:
            continue
    raise UserError("spec.template.configMapRef", f"there is no file {ref.name}/{ref.key} beside the manifest")


def _close(
    spec: RewriteSpec, candidates: list[Candidate], targets: Mapping[str, Target], reasons: Reasons
) -> list[Candidate]:
    if spec.validation.similarity is not None and candidates:
        bounds = spec.validation.similarity
        cosines = similarities(bounds, candidates, targets)
        candidates = _keep(candidates, {i: too_far_or_close(bounds, c) for i, c in cosines.items()}, reasons)
    if spec.validation.judge is not None and candidates:
        candidates = _keep(
            candidates, judged_off(spec.validation.judge, spec.credentials, candidates, targets), reasons
        )
    return candidates


def _keep(candidates: Sequence[Candidate], verdicts: Reasons, reasons: Reasons) -> list[Candidate]:
    """The candidates without a verdict against them; the others' verdicts go into `reasons`."""
    reasons |= {i: verdict for i, verdict in verdicts.items() if verdict is not None}
    return [candidate for candidate in candidates if verdicts[candidate.id] is None]


def _rewritten(prompt: Prompt, candidate: Candidate) -> Prompt:
    changed = prompt.with_text(candidate.text)
    return Prompt(candidate.id, changed.text, changed.messages, changed.fields)


def _final(
    store: Store,
    prompts: Mapping[str, Prompt],
    targets: Mapping[str, Target],
    chosen: Mapping[str, Candidate],
    spec: RewriteSpec,
) -> Table:
    """The prompts that the job passes on: rewritten where a rewrite was proven, the original elsewhere."""
    table = Table(store, "prompts", FINAL_PROMPTS)
    done = table.committed()
    with Appender(table) as rows:
        for prompt in prompts.values():
            dropped = spec.control is Control.DROP_ONLY and prompt.id in targets
            if prompt.id in done or dropped:
                continue
            candidate = chosen.get(prompt.id)
            rows.add(
                {
                    "id": prompt.id,
                    "prompt": candidate.text if candidate else prompt.text,
                    "original": prompt.text,
                    "rewritten": candidate is not None,
                    "dimension": targets[prompt.id].dimension if prompt.id in targets else None,
                }
            )
    return table


def _counts(targets: Mapping[str, Target]) -> PromptCounts:
    return PromptCounts(total=len(targets), completed=len(targets))


def _finish(store: Store, source: api.RolloutJob, result: RewriteResult, prompts: Table) -> RewriteResult:
    digests = {"prompts": prompts.digest(), **weigh_rewrites(source, store, prompts)}
    write_json(store, "status.json", result.to_dict())
    complete(store, digests)
    return result
