"""Texts and numbers with bounds that many types share."""

from typing import Annotated

from pydantic import Field, StringConstraints

_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_JOB = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
_DIMENSION = r"^[A-Za-z][A-Za-z0-9_-]*$"
OBJECT = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_SECRET_KEY = r"^[-._a-zA-Z0-9]+$"
LABEL_KEY = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_LABEL_VALUE = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
_INPUT = r"^(hf|s3|gs|az|pvc|file)://[^ \t\r\n\f].*$"
_OUTPUT = r"^(s3|gs|az|pvc|file)://[^ \t\r\n\f].*$"
_CALLABLE = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"
HTTP = r"^https?://[!-~]+$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"

PATTERNS = {
    _LABEL: "lower case letters, digits and dashes, beginning and ending with a letter or digit",
    _JOB: "lower case letters, digits and dashes, beginning with a letter",
    _DIMENSION: "letters, digits, dashes and underscores, beginning with a letter",
    OBJECT: "a Kubernetes name (lower case letters, digits, dashes and dots)",
    _SECRET_KEY: "a key (letters, digits, dashes, dots and underscores)",
    LABEL_KEY: "a label's name (letters, digits, dashes, dots and underscores, with an optional prefix/)",
    _LABEL_VALUE: "a label's value (letters, digits, dashes, dots and underscores)",
    _INPUT: "a URI that begins with hf://, s3://, gs://, az://, pvc:// or file://",
    _OUTPUT: "a URI that begins with s3://, gs://, az://, pvc:// or file://",
    _CALLABLE: "of the form module:function",
    HTTP: "a URL that begins with http:// or https://",
    QUANTITY: "a quantity, e.g. 4, 500m or 16Gi",
}
"""What a value must be, in words, by the pattern that it has to match."""

# Names of things inside a manifest: adapters, credentials, volumes, ... (DNS-1123 label).
Name = Annotated[str, StringConstraints(pattern=_LABEL, min_length=1, max_length=63)]
# metadata.name of our jobs: RayJob and RayCluster names are made from it (RFC 1035 label).
JobName = Annotated[str, StringConstraints(pattern=_JOB, min_length=1, max_length=40)]
# The name of a reward, an objective or a dimension: may be a column name, hence also underscores and capitals.
Dimension = Annotated[str, StringConstraints(pattern=_DIMENSION, min_length=1, max_length=63)]
# metadata.name of an object of Kubernetes (DNS-1123 subdomain).
ObjectName = Annotated[str, StringConstraints(pattern=OBJECT, max_length=253)]
# A key of a Secret or ConfigMap.
SecretKey = Annotated[str, StringConstraints(pattern=_SECRET_KEY, max_length=253)]
# prefix/name as in labels and annotations, a little shorter than they may be: a pattern cannot bound the prefix alone.
LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY, max_length=253)]
LabelValue = Annotated[str, StringConstraints(pattern=_LABEL_VALUE, max_length=63)]
LabelMap = Annotated[dict[LabelKey, LabelValue], Field(max_length=64)]
ShortText = Annotated[str, StringConstraints(max_length=256)]
LongText = Annotated[str, StringConstraints(max_length=8192)]
# Where a job reads from: a model or data.
InputURI = Annotated[str, StringConstraints(pattern=_INPUT, max_length=1024)]
# Where a job writes to; hub repositories are for inputs only.
OutputURI = Annotated[str, StringConstraints(pattern=_OUTPUT, max_length=1024)]
# module:function, imported from the manifest's folder, the environment, or codeConfigMapRef.
CallablePath = Annotated[str, StringConstraints(pattern=_CALLABLE, max_length=256)]
Probability = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
