"""What decides the results of a job: two jobs with equal identities write the same artifacts."""

from typing import Any

from .resolved import Job, ResolvedJob

# Lifecycle, placement and speed: changing them must not throw finished work away.
WITHOUT_INFLUENCE = frozenset(
    {
        "suspend",
        "activeDeadlineSeconds",
        "attemptDeadlineSeconds",
        "preRunningDeadlineSeconds",
        "backoffLimit",
        "failurePolicy",
        "ttlSecondsAfterFinished",
        "credentials",
        "cluster",
        "replicas",
        "autoscaling",
        "output",
        "checkpoint",
    }
)


def identity(resolved: ResolvedJob, **inputs: str) -> dict[str, Any]:
    """The job's kind, name and deciding fields, those of the jobs it refers to, and digests of its inputs."""
    return {
        "job": _deciding(resolved.job),
        "references": {f"{job.kind}/{job.metadata.name}": _deciding(job)["spec"] for job in resolved.references},
        "inputs": dict(sorted(inputs.items())),
    }


def _deciding(job: Job) -> dict[str, Any]:
    spec = {name: value for name, value in job.spec.to_dict().items() if name not in WITHOUT_INFLUENCE}
    return {"kind": job.kind, "name": job.metadata.name, "spec": spec}
