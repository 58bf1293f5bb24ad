"""From manifests to the steps of a run: checked, resolved, in the order of their references. Writes nothing."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mora_jobs import api, validation
from mora_jobs.api.identity import WITHOUT_INFLUENCE
from mora_jobs.api.references import key_of, references
from mora_jobs.api.uris import FILE, uris
from mora_jobs.artifacts.identity import JOB, differences, is_complete
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError

from .overrides import Overrides
from .record import INPUTS
from .supervisor import Step
from .volumes import Volumes
from .workdir import Object, Workdir

SHOWN = 8
MUTABLE = WITHOUT_INFLUENCE - {"output"}
"""Members of spec that may differ from those that a workdir was made with."""


class Refused(Exception):
    """Manifests that cannot be run, and why: one line for each fault."""

    def __init__(self, lines: Iterable[object]) -> None:
        self.lines = [str(line) for line in lines]
        super().__init__("\n".join(self.lines))


def plan(paths: Iterable[Path], sets: Iterable[str], volumes: Iterable[str], workdir: Workdir) -> list[Step]:
    """The steps of a run, needed ones first. Raises Refused with every fault of the manifests."""
    overrides, folders = Overrides(sets), Volumes(volumes)
    loaded = validation.load(paths, overrides.change)
    overrides.check_used()
    faults = [*validation.check(loaded, "local"), *folders.faults(loaded)]
    if faults:
        raise Refused(faults)
    loaded = folders.mounted(loaded)
    steps = {}
    for each in loaded:
        resolved = validation.resolve(each, loaded, workdir.root)
        key = "/".join(key_of(resolved.job))
        needs = tuple(dict.fromkeys("/".join(reference.key) for reference in references(resolved.job)))
        steps[key] = Step(key, resolved, needs, fingerprint(resolved.job))
    return list(_ordered(steps))


def check_same(steps: Iterable[Step], before: Mapping[str, Object], workdir: Workdir) -> None:
    """UserError where the workdir was made by other manifests: with another spec, once artifacts exist, or for other jobs."""
    steps = list(steps)
    todo = "use another --workdir"
    if before and not any(step.key in before for step in steps):
        given, held = ", ".join(step.key for step in steps), ", ".join(before)
        raise UserError(str(workdir), f"was made by other manifests: it holds {held}, and these are {given}", todo)
    for step in steps:
        if step.key not in before or not _begun(step.resolved.job, before[step.key]):
            continue
        here = _deciding(step.resolved.job.spec.to_dict())
        differing = list(differences(_deciding(before[step.key]["spec"]), here, "spec"))
        if differing:
            shown = "; ".join(f"{path}: {_short(a)} there, {_short(b)} here" for path, a, b in differing[:SHOWN])
            more = f"; and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
            raise UserError(str(workdir), f"was made by other manifests: {step.key} differs in {shown}{more}", todo)


def is_done(step: Step, before: Object) -> bool:
    """Whether an earlier run completed this very job, its local inputs have not changed, and its artifacts are there."""
    conditions = {each["type"]: each["status"] for each in before.get("status", {}).get("conditions", [])}
    same_inputs = before["metadata"].get("annotations", {}).get(INPUTS) == step.inputs
    complete = conditions.get(api.ConditionType.COMPLETE) == "True"
    return complete and same_inputs and is_complete(Store(step.resolved.job.spec.output.uri)) is not None


def check_prompts(steps: Iterable[Step]) -> None:
    """Read the local prompt files once, so that a bad line is told before anything is written. UserError for the first."""
    from mora_jobs.generation.prompts import digest_prompts

    for step in steps:
        spec = step.resolved.job.spec
        files: list[api.Prompts | None] = []
        if isinstance(spec, api.RolloutSpec):
            files = [spec.prompts]
        elif isinstance(spec, api.AlignmentSpec):
            files = [spec.evaluation and spec.evaluation.prompts, spec.online_prompts]
        for prompts in files:
            if prompts is not None and prompts.uri is not None and prompts.uri.startswith(FILE):
                digest_prompts(prompts, step.resolved)


def fingerprint(job: api.Job) -> str:
    """Size and time of every local file that the job reads, as one hash: equal means that none was touched."""
    content = hashlib.sha256()
    for path, uri in uris(job):
        if uri.startswith(FILE) and path != "spec.output.uri":
            for file in _files(Path(uri.removeprefix(FILE))):
                about = file.stat()
                content.update(f"{path} {file.name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return f"sha256:{content.hexdigest()}"


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, _, names in os.walk(path):
        yield from (Path(folder) / name for name in sorted(names))


def _ordered(steps: Mapping[str, Step]) -> Iterator[Step]:
    """Needed ones first, else in the order of the manifests. There is no cycle: validation has seen to it."""
    done: set[str] = set()

    def visit(key: str) -> Iterator[Step]:
        if key in done:
            return
        done.add(key)
        for needed in steps[key].needs:
            yield from visit(needed)
        yield steps[key]

    for key in steps:
        yield from visit(key)


def _deciding(spec: Object) -> Object:
    return {name: value for name, value in spec.items() if name not in MUTABLE}


def _begun(job: api.Job, before: Object) -> bool:
    """Whether there are artifacts of the earlier spec; a job that failed before it wrote any may be corrected freely."""
    outputs = {job.spec.output.uri, str(before["spec"]["output"]["uri"])}
    return any(Store(uri).exists(JOB) for uri in outputs)


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, (str, int, float, bool, list, dict)) else "nothing"
    return text if len(text) <= 60 else text[:57] + "…"
