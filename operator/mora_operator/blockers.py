"""What keeps a job from running in a cluster although the schema admits it: reasons of `Stalled`."""

from collections.abc import Iterator

from mora_jobs.api import Job, RolloutJob

from .settings import Settings
from .uris import relative


def blockers(job: Job, settings: Settings) -> Iterator[tuple[str, str]]:
    """Reason and message of every obstacle; each names the field to change."""
    path = relative(job)
    if path is not None:
        yield "RelativeURI", f"{path}: a file:// URI must be absolute in a cluster, or use pvc://claim/path"
    if not (job.spec.cluster.image or settings.runtime_image):
        yield "ImageMissing", "spec.cluster.image: no image is given, and this installation has no default one"
    if isinstance(job, RolloutJob) and job.spec.autoscaling is not None:
        yield "AutoscalingUnavailable", "spec.autoscaling: in a cluster give a fixed number of replicas"
