"""The part of metav1.ObjectMeta that our objects use; unknown members are Kubernetes' own and kept."""

from typing import Annotated

from pydantic import ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel

from .base import Model

JobName = Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=40)]


class ObjectMeta(Model):
    """Standard object metadata."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow")
    name: JobName
    """Name: at most 40 characters, lower case letters, digits and dashes, beginning with a letter."""
    namespace: str | None = None
    """Namespace."""
    labels: dict[str, str] = {}
    """Labels; queue and gang settings are labels."""
    annotations: dict[str, str] = {}
    """Annotations."""
    uid: str | None = None
    """Unique id, set by the API server."""
    generation: int | None = None
    """Generation of the spec, set by the API server."""
