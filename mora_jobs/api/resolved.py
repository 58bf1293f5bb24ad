"""A resolved job: one job with everything that it refers to, as a driver reads it from one JSON file."""

from typing import Annotated, Self, TypeVar

from pydantic import Field

from .align import AlignmentJob
from .base import Model
from .rewrite import RewriteJob
from .rollout import RolloutJob

Job = Annotated[RolloutJob | RewriteJob | AlignmentJob, Field(discriminator="kind")]
_J = TypeVar("_J", RolloutJob, RewriteJob)
KINDS: dict[str, type[RolloutJob] | type[RewriteJob] | type[AlignmentJob]] = {
    "RolloutJob": RolloutJob,
    "RewriteJob": RewriteJob,
    "AlignmentJob": AlignmentJob,
}


class ResolvedJob(Model):
    """What a driver is given. All URIs are absolute; credentials are files or environment variables, never values."""

    job: Job
    """The job, with defaults."""
    references: list[Job] = []
    """Every job that it refers to, directly or through others, with defaults; their artifacts lie at their spec.output.uri."""
    import_paths: list[str] = []
    """Folders from which Python callables are imported, besides the environment."""
    attempt: int = 1
    """Index of the attempt."""

    def rollout_job(self, name: str) -> RolloutJob:
        """The referenced RolloutJob of that name. Raises KeyError."""
        return self._find(RolloutJob, name)

    def rewrite_job(self, name: str) -> RewriteJob:
        """The referenced RewriteJob of that name. Raises KeyError."""
        return self._find(RewriteJob, name)

    def _find(self, kind: type[_J], name: str) -> _J:
        for job in self.references:
            if isinstance(job, kind) and job.metadata.name == name:
                return job
        raise KeyError(f"{kind.__name__}/{name}")

    @classmethod
    def load(cls, text: str | bytes) -> Self:
        """Read the JSON that `dump` wrote. Raises pydantic.ValidationError."""
        return cls.model_validate_json(text)

    def dump(self) -> str:
        """Canonical JSON."""
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=1)
