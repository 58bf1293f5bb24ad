"""The part of metav1.ObjectMeta that our objects use; unknown members are Kubernetes' own and kept."""

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from .base import Model
from .texts import JobName, LabelKey, LabelValue, ObjectName

# metav1.ObjectMeta; the API server refuses other members.
METADATA_FIELDS = [
    "annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generateName",
    "generation", "labels", "managedFields", "name", "namespace", "ownerReferences", "resourceVersion", "selfLink", "uid",
]  # fmt: skip


class ObjectMeta(Model):
    """Standard object metadata."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow")
    name: JobName
    """Name: at most 40 characters, lower case letters, digits and dashes, beginning with a letter."""
    namespace: ObjectName | None = None
    """Namespace."""
    labels: dict[LabelKey, LabelValue] = {}
    """Labels; queue and gang settings are labels."""
    annotations: dict[str, str] = {}
    """Annotations."""
    uid: str | None = None
    """Unique id, set by the API server."""
    generation: int | None = None
    """Generation of the spec, set by the API server."""
