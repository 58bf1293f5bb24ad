"""AlignmentJob, from top to bottom: pairs → trainings → points → evaluation → front → status.

Every step is an artifact below spec.output.uri; a step whose artifact is there is not done again.
"""

import hashlib
import logging
from typing import Any

from mora_jobs import api
from mora_jobs.align.dataset import PairSource
from mora_jobs.align.evaluate import calibration, measure, measurement, per_prompt
from mora_jobs.align.gains import Results
from mora_jobs.align.heldout import held_out
from mora_jobs.align.online.prompts import OnlineSource
from mora_jobs.align.plan import BASE, Plan, make_plan, objective_weights
from mora_jobs.align.points import hand_over
from mora_jobs.align.pools import RolloutSource, rollout_sources
from mora_jobs.align.sides import warnings
from mora_jobs.align.training import run_trainings
from mora_jobs.api.align import AlignmentResult, DigestedURI
from mora_jobs.artifacts.document import canonical, read_json, write_json
from mora_jobs.artifacts.identity import claim, complete, is_complete
from mora_jobs.artifacts.store import Store
from mora_jobs.generation.prompts import digest_prompts
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rewards.early import check_callables

log = logging.getLogger(__name__)

PAIRS, PARETO = "pairs.json", "pareto.json"


def run(resolved: api.ResolvedJob, reporter: Reporter) -> AlignmentResult:
    """Run the job; raises UserError for what its author can put right, Stopped when it was asked to stop."""
    job = resolved.job
    assert isinstance(job, api.AlignmentJob)
    spec, store = job.spec, Store(job.spec.output.uri)

    # All of the input is read before anything is written, so that a mistake in it costs nothing.
    sources = rollout_sources(resolved, spec.data)
    kept_out = held_out(resolved, spec, sources)
    how = measurement(spec, sources)
    pair_source = PairSource(spec, sources, kept_out)
    online = None if spec.online_prompts is None else OnlineSource(resolved, spec, sources, kept_out)
    survey = None if online or store.exists(PAIRS) else pair_source.survey()
    make_plan(spec, store.uri, "")
    if is_complete(store) is None:
        check_callables(how.rewards, resolved.import_paths)
    claim(store, _identity(resolved, spec, sources), spec.output.overwrite_policy.value, job.metadata.uid)
    if is_complete(store) is not None:
        log.info("already complete: %s", store.uri)
        return AlignmentResult.model_validate(read_json(store, "status.json"))

    if online is not None:
        material, account = online.commit(store), None
        plan = online.equip(make_plan(spec, store.uri, material.digest()), how)
    else:
        material, account = pair_source.commit(store), read_json(store, PAIRS)
        if account is None:
            account = pair_source.account(material, survey)
            write_json(store, PAIRS, account)
        for line in warnings(spec, sources, account):
            log.warning("%s", line)
        plan = make_plan(spec, store.uri, material.digest())
    run_trainings(plan, spec, reporter)
    models = {BASE: spec.model} | {point.name: hand_over(store, spec, plan, point) for point in plan.points}
    snapshots = _snapshots(plan)

    all_models = models | {name: model for name, (_, _, model) in snapshots.items()}
    scores = measure(store, all_models, kept_out, how, resolved.import_paths, reporter)
    frozen = calibration(store, how, sources, scores[BASE])
    ids = [prompt.id for prompt in kept_out.prompts]
    values = {name: per_prompt(table, ids, how, frozen) for name, table in scores.items()}
    results = Results(
        [objective.name for objective in spec.objectives],
        objective_weights(spec),
        how.names,
        ids,
        plan.points,
        store.uri,
        {name: values[name] for name in models},
    )
    document = results.document(
        pairs=account,
        thresholds={objective.name: objective.threshold for objective in spec.objectives if objective.threshold},
        samplesPerPrompt=how.sampling.samples_per_prompt,
        curve=[
            {"training": training, "step": step, "values": results.means_of(values[name])}
            for name, (training, step, _) in snapshots.items()
        ],
    )
    write_json(store, PARETO, document)

    result = _with_artifact(results.result(), store, document)
    write_json(store, "status.json", result.to_dict())
    digest = f"sha256:{hashlib.sha256(canonical(document)).hexdigest()}"
    complete(store, {"pairs" if online is None else "online/prompts": material.digest(), PARETO: digest})
    return result


def _snapshots(plan: Plan) -> dict[str, tuple[str, int, api.ModelRef]]:
    """By a name of their own (training, step, model) of the policies that evaluation.everySteps kept."""
    found = {}
    for task in plan.tasks.values():
        for folder in sorted({path.split("/")[1] for path in task.store.list("snapshots")}):
            model = task.policy_model(f"{task.store.uri}/snapshots/{folder}")
            found[f"{task.name}/{folder}"] = (task.name, int(folder.removeprefix("step-")), model)
    return found


def _identity(resolved: api.ResolvedJob, spec: api.AlignmentSpec, sources: list[RolloutSource]) -> dict[str, Any]:
    """The job and the content of everything it reads."""
    inputs = {name: digest for source in sources for name, digest in source.digests.items()}
    inputs["save"] = spec.output.save.value
    if spec.online_prompts is not None:
        inputs["onlinePrompts"] = digest_prompts(spec.online_prompts, resolved)[1]
    if spec.evaluation is not None:
        inputs["evaluation"] = digest_prompts(spec.evaluation.prompts, resolved)[1]
    if spec.data.preferences is not None:
        inputs["preferences"] = _digest_files(spec.data.preferences.uri)
    return api.identity(resolved, **inputs)


def _digest_files(uri: str) -> str:
    """sha256 over a file, or over the names and contents of a folder's files."""
    parent, _, name = uri.rstrip("/").rpartition("/")
    store, content = Store(parent), hashlib.sha256()
    for path in store.list(name) or [name]:
        with store.local(path).open("rb") as file:
            content.update(f"{path}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return f"sha256:{content.hexdigest()}"


def _with_artifact(result: AlignmentResult, store: Store, document: dict[str, Any]) -> AlignmentResult:
    assert result.pareto is not None
    digest = f"sha256:{hashlib.sha256(canonical(document)).hexdigest()}"
    pareto = result.pareto.with_changes(artifact=DigestedURI(uri=f"{store.uri}/{PARETO}", digest=digest))
    return result.with_changes(pareto=pareto)
