"""The members of a pod that a manifest may change, named as in core/v1 and closed: a typo is refused when the job is applied.

What stays open (`Open`) has no declared members at all, because a transition rule compares such a value as a whole; inside an
object that is both typed and open the API server misses a renamed key.
"""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from .base import Checked, KeyRef, Model, Rule, exactly_one_of
from .texts import QUANTITY, LabelKey, LabelMap, LabelValue, Name, ObjectName, ShortText

# Any JSON value, handed through as it is; admission checks it when the pods are made.
Open = Annotated[Any, Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]


def stays_inside(path: str) -> str:
    """The expression that a path has no part `..`."""
    return f"!{path}.matches('(^|/)[.][.](/|$)')"


def _quantity_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# A Kubernetes quantity, an integer or a text in a manifest, a text in Python.
Quantity = Annotated[
    str,
    StringConstraints(pattern=QUANTITY, max_length=32),
    BeforeValidator(_quantity_text),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": QUANTITY, "maxLength": 32}),
]
Quantities = Annotated[dict[Annotated[str, StringConstraints(max_length=253)], Quantity], Field(max_length=16)]
Path = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
# Inside a volume: `matches` in a rule sees to "..", which a pattern cannot exclude.
RelativePath = Annotated[str, StringConstraints(pattern=r"^[^/]", max_length=1024)]
FileMode = Annotated[int, Field(ge=0, le=511)]
Id = Annotated[int, Field(ge=0, le=2_147_483_647)]
UserId = Annotated[int, Field(ge=1, le=2_147_483_647)]


class LabelOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(Model):
    """A condition on one label."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.operator == 'In' || self.operator == 'NotIn') == (has(self.values) && self.values.size() > 0)",
            "In and NotIn need values, the others take none",
            "values",
        ),
    )
    key: LabelKey
    """Label."""
    operator: LabelOperator
    """In and NotIn go with values."""
    values: Annotated[list[ShortText] | None, Field(max_length=32)] = None
    """Values of the label."""


class LabelSelector(Model):
    """Objects by their labels; all conditions must hold, an empty selector matches everything."""

    match_labels: LabelMap | None = None
    """Labels with their values."""
    match_expressions: Annotated[list[LabelRequirement] | None, Field(max_length=16)] = None
    """Further conditions."""


class AffinityRules(Model):
    """What must hold, and what is preferred."""

    required_during_scheduling_ignored_during_execution: Open = None
    """What must hold, as in a pod."""
    preferred_during_scheduling_ignored_during_execution: Open = None
    """What is preferred, as in a pod."""


class Affinity(Model):
    """Where pods go."""

    node_affinity: AffinityRules | None = None
    """Nodes."""
    pod_affinity: AffinityRules | None = None
    """Pods to be near."""
    pod_anti_affinity: AffinityRules | None = None
    """Pods to be apart from."""


class TolerationOperator(StrEnum):
    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Model):
    """A taint that the pods tolerate."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            "operator must be Exists where there is no key",
            "operator",
        ),
        Rule(
            "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
            "operator Exists takes no value",
            "value",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds goes with effect NoExecute only",
            "tolerationSeconds",
        ),
    )
    key: LabelKey | None = None
    """Key of the taint; every taint when absent (with operator Exists)."""
    operator: TolerationOperator | None = None
    """Equal when absent."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: TaintEffect | None = None
    """Effect of the taint; all effects when absent."""
    toleration_seconds: int | None = None
    """How long NoExecute is tolerated; for ever when absent."""


class Unsatisfiable(StrEnum):
    DO_NOT_SCHEDULE = "DoNotSchedule"
    SCHEDULE_ANYWAY = "ScheduleAnyway"


class InclusionPolicy(StrEnum):
    HONOR = "Honor"
    IGNORE = "Ignore"


class TopologySpread(Model):
    """How pods spread over topology domains."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
            "minDomains goes with whenUnsatisfiable DoNotSchedule only",
            "minDomains",
        ),
        Rule(
            "!has(self.matchLabelKeys) || has(self.labelSelector)",
            "matchLabelKeys goes with a labelSelector only",
            "matchLabelKeys",
        ),
    )
    max_skew: Annotated[int, Field(ge=1, le=1024)]
    """Largest difference between domains."""
    topology_key: LabelKey
    """Node label that makes the domain."""
    when_unsatisfiable: Unsatisfiable
    """DoNotSchedule or ScheduleAnyway."""
    label_selector: LabelSelector | None = None
    """Pods that count."""
    min_domains: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Fewest domains."""
    node_affinity_policy: InclusionPolicy | None = None
    """Whether node affinity limits the domains."""
    node_taints_policy: InclusionPolicy | None = None
    """Whether taints limit the domains."""
    match_label_keys: Annotated[list[LabelKey] | None, Field(max_length=16)] = None
    """Labels whose values must equal the new pod's."""


class FsGroupChangePolicy(StrEnum):
    ON_ROOT_MISMATCH = "OnRootMismatch"
    ALWAYS = "Always"


class SELinux(Model):
    """The SELinux labels that Pod Security `restricted` leaves open; not user and role."""

    type: Annotated[str, StringConstraints(pattern=r"^container(_init|_kvm|_engine)?_t$", max_length=32)] | None = None
    """container_t, container_init_t, container_kvm_t or container_engine_t."""
    level: ShortText | None = None
    """Level."""


class PodSecurity(Model):
    """What may differ from the hardened pod security context; Pod Security `restricted` still holds."""

    run_as_user: UserId | None = None
    """User id; not 0."""
    run_as_group: Id | None = None
    """Group id."""
    fs_group: Id | None = None
    """Group that owns volumes."""
    fs_group_change_policy: FsGroupChangePolicy | None = None
    """When ownership of volumes is changed."""
    supplemental_groups: Annotated[list[Id] | None, Field(max_length=16)] = None
    """Further groups."""
    se_linux_options: SELinux | None = None
    """SELinux labels."""


class OptionalKeyRef(KeyRef):
    """One key of a Secret or a ConfigMap."""

    optional: bool | None = None
    """Whether the pod starts without it."""


class FieldRef(Model):
    """A field of the pod."""

    field_path: Path
    """E.g. metadata.name."""
    api_version: ShortText | None = None
    """v1."""


class ResourceFieldRef(Model):
    """A resource of the container."""

    resource: ShortText
    """E.g. limits.memory."""
    container_name: ShortText | None = None
    """Container."""
    divisor: Quantity | None = None
    """Unit."""


class EnvSource(Model):
    """Where a variable's value comes from."""

    cel: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("secretKeyRef", "configMapKeyRef", "fieldRef", "resourceFieldRef"),
    )
    secret_key_ref: OptionalKeyRef | None = None
    """A Secret."""
    config_map_key_ref: OptionalKeyRef | None = None
    """A ConfigMap."""
    field_ref: FieldRef | None = None
    """A field of the pod."""
    resource_field_ref: ResourceFieldRef | None = None
    """A resource of the container."""


class EnvVar(Model):
    """An environment variable of a pod. Values that look like secrets belong into credentials."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("!(has(self.value) && has(self.valueFrom))", "give value or valueFrom, not both", "value"),
    )
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
    """Name of the variable."""
    value: Annotated[str, StringConstraints(max_length=4096)] | None = None
    """Value as text."""
    value_from: Annotated[dict[str, Any], Checked(EnvSource)] | None = None
    """Source of the value, as in a pod."""


class OptionalNameRef(Model):
    """A Secret or a ConfigMap."""

    name: ObjectName
    """Its name."""
    optional: bool | None = None
    """Whether the pod starts without it."""


class EnvFrom(Model):
    """All keys of a ConfigMap or a Secret as variables."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.configMapRef) != has(self.secretRef)", "exactly one of configMapRef, secretRef must be given"),
    )
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)] | None = None
    """Put in front of every name."""
    config_map_ref: OptionalNameRef | None = None
    """ConfigMap."""
    secret_ref: OptionalNameRef | None = None
    """Secret."""


class VolumeMount(Model):
    """Where a volume appears in the Ray container."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("!(has(self.subPath) && has(self.subPathExpr))", "give subPath or subPathExpr, not both", "subPath"),
        Rule(f"!has(self.subPath) || {stays_inside('self.subPath')}", "must not contain ..", "subPath"),
        Rule(f"!has(self.subPathExpr) || {stays_inside('self.subPathExpr')}", "must not contain ..", "subPathExpr"),
    )
    name: Name
    """Name of the volume."""
    mount_path: Annotated[str, StringConstraints(pattern=r"^/[^:]*$", max_length=1024)]
    """Absolute path."""
    sub_path: RelativePath | None = None
    """Folder or file inside the volume."""
    sub_path_expr: RelativePath | None = None
    """The same, with variables."""
    read_only: bool | None = None
    """Whether writing is refused."""


class ResourceClaim(Model):
    """A dynamic resource claim of the pod."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.resourceClaimName) != has(self.resourceClaimTemplateName)",
            "exactly one of resourceClaimName, resourceClaimTemplateName must be given",
        ),
    )
    name: Name
    """Name inside the pod."""
    resource_claim_name: ObjectName | None = None
    """A ResourceClaim."""
    resource_claim_template_name: ObjectName | None = None
    """A ResourceClaimTemplate."""
