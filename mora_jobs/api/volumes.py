"""Volumes of the pods: the eight kinds that Pod Security `restricted` allows, and no others."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from .base import Model, NameRef, Rule, exactly_one_of
from .pods import FieldRef, FileMode, Open, Quantity, RelativePath, ResourceFieldRef, stays_inside
from .texts import Name, ObjectName, SecretKey, ShortText

Texts = Annotated[
    dict[Annotated[str, StringConstraints(max_length=317)], Annotated[str, StringConstraints(max_length=1024)]],
    Field(max_length=64),
]


class Medium(StrEnum):
    DISK = ""
    MEMORY = "Memory"


class KeyToPath(Model):
    """One key as a file."""

    cel: ClassVar[tuple[Rule, ...]] = (Rule(stays_inside("self.path"), "must not contain ..", "path"),)
    key: SecretKey
    """Key."""
    path: RelativePath
    """Relative path of the file."""
    mode: FileMode | None = None
    """File mode."""


Items = Annotated[list[KeyToPath], Field(max_length=64)]


class ConfigMapVolume(Model):
    """A ConfigMap as files."""

    name: ObjectName
    """ConfigMap."""
    items: Items | None = None
    """Keys; all of them when absent."""
    default_mode: FileMode | None = None
    """File mode."""
    optional: bool | None = None
    """Whether the pod starts without it."""


class SecretVolume(Model):
    """A Secret as files."""

    secret_name: ObjectName
    """Secret."""
    items: Items | None = None
    """Keys; all of them when absent."""
    default_mode: FileMode | None = None
    """File mode."""
    optional: bool | None = None
    """Whether the pod starts without it."""


class EmptyDir(Model):
    """A folder that lives as long as the pod."""

    medium: Medium | None = None
    """Memory, or the node's disk when absent."""
    size_limit: Quantity | None = None
    """Largest size."""


class ClaimVolume(Model):
    """A PersistentVolumeClaim."""

    claim_name: ObjectName
    """PersistentVolumeClaim."""
    read_only: bool | None = None
    """Whether writing is refused."""


class CSIVolume(Model):
    """A volume of a CSI driver, made with the pod."""

    driver: ShortText
    """Driver."""
    fs_type: ShortText | None = None
    """File system."""
    read_only: bool | None = None
    """Whether writing is refused."""
    volume_attributes: Texts | None = None
    """Attributes for the driver."""
    node_publish_secret_ref: NameRef | None = None
    """Secret for the driver."""


class DownwardItem(Model):
    """A field of the pod as a file."""

    cel: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("fieldRef", "resourceFieldRef"),
        Rule(stays_inside("self.path"), "must not contain ..", "path"),
    )
    path: RelativePath
    """Relative path of the file."""
    field_ref: FieldRef | None = None
    """Field of the pod."""
    resource_field_ref: ResourceFieldRef | None = None
    """Resource of the container."""
    mode: FileMode | None = None
    """File mode."""


class DownwardVolume(Model):
    """Fields of the pod as files."""

    items: Annotated[list[DownwardItem], Field(max_length=32)]
    """Files."""
    default_mode: FileMode | None = None
    """File mode."""


class ProjectedVolume(Model):
    """Several sources in one folder."""

    sources: Annotated[list[Open], Field(max_length=16)]
    """Sources, as in a pod."""
    default_mode: FileMode | None = None
    """File mode."""


class EphemeralVolume(Model):
    """A claim that lives as long as the pod."""

    volume_claim_template: Open
    """Template of the claim, as in a pod."""


class Volume(Model):
    """A volume of the pods."""

    cel: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of(
            "configMap", "secret", "emptyDir", "persistentVolumeClaim", "csi", "downwardAPI", "projected", "ephemeral"
        ),
    )
    name: Name
    """Name that volumeMounts refer to."""
    config_map: ConfigMapVolume | None = None
    """A ConfigMap as files."""
    secret: SecretVolume | None = None
    """A Secret as files."""
    empty_dir: EmptyDir | None = None
    """A folder that lives as long as the pod."""
    persistent_volume_claim: ClaimVolume | None = None
    """A PersistentVolumeClaim."""
    csi: CSIVolume | None = None
    """A volume of a CSI driver."""
    downward_api: Annotated[DownwardVolume | None, Field(alias="downwardAPI")] = None
    """Fields of the pod as files."""
    projected: ProjectedVolume | None = None
    """Several sources in one folder."""
    ephemeral: EphemeralVolume | None = None
    """A claim that lives as long as the pod."""
