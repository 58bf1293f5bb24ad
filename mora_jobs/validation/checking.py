"""All that is wrong with a set of manifests, and a job of it ready for its driver."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from mora_jobs.api import Job, ResolvedJob
from mora_jobs.api.crosscheck import Problem, problems, relative_uris, shared_outputs
from mora_jobs.api.references import JobKey, key_of
from mora_jobs.api.resolving import resolve as resolve_references
from mora_jobs.api.uris import make_absolute

from .fault import Fault
from .loading import Loaded

Target = Literal["local", "cluster"]


def check(loaded: Sequence[Loaded], target: Target = "local") -> list[Fault]:
    """Every fault of the documents, alone and among each other. `target` cluster adds what only matters there."""
    faults = [fault for each in loaded for fault in each.faults]
    jobs: dict[JobKey, Job] = {}
    for each, job in _with_jobs(loaded):
        if key_of(job) in jobs:
            message = f"there is another {job.kind} of this name"
            faults.append(each.fault("metadata.name", message, "DuplicateObject"))
        jobs.setdefault(key_of(job), job)
    broken = {key for each in loaded if each.job is None and (key := _claimed(each)) is not None}
    for each, job in _with_jobs(loaded):
        for problem in _problems(job, jobs, target):
            if problem.reason == "ReferenceNotFound" and any(
                problem.message.startswith(_absent(key)) for key in broken
            ):
                continue  # it is there, and its own faults are reported
            faults.append(each.fault(problem.path, problem.message, problem.reason))
    return faults


def resolve(each: Loaded, loaded: Sequence[Loaded], workdir: Path, attempt: int = 1) -> ResolvedJob:
    """The job as its driver reads it in `mora run`: absolute URIs, references, inherited settings, import paths.

    Only for documents that `check` found no fault with. Inputs are relative to their manifest's folder, outputs to `workdir`.
    """
    if each.job is None:
        raise ValueError(f"{each.file} has faults")
    folders = {key_of(job): other.file.resolve().parent for other, job in _with_jobs(loaded)}
    jobs = {key_of(job): make_absolute(job, folders[key_of(job)], workdir) for _, job in _with_jobs(loaded)}
    resolved = resolve_references(jobs[key_of(each.job)], jobs)
    needed = [key_of(each.job), *(key_of(job) for job in resolved.references)]
    paths = dict.fromkeys(str(folders[key]) for key in needed)
    return resolved.with_changes(import_paths=list(paths), attempt=attempt)


def _problems(job: Job, jobs: Mapping[JobKey, Job], target: Target) -> Iterator[Problem]:
    yield from problems(job, jobs)
    yield from shared_outputs(job, jobs)
    if target == "cluster":
        yield from relative_uris(job)


def _with_jobs(loaded: Sequence[Loaded]) -> Iterator[tuple[Loaded, Job]]:
    for each in loaded:
        if each.job is not None:
            yield each, each.job


def _claimed(each: Loaded) -> JobKey | None:
    """Kind and name that a faulty document gives itself."""
    metadata = each.doc.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        return None
    return str(each.doc.get("kind")), metadata["name"]


def _absent(key: JobKey) -> str:
    return f"there is no {key[0]} {key[1]}"
