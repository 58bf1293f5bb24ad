"""The training methods, by their names in spec.method.name."""

from mora_jobs.align.methods.base import Method
from mora_jobs.align.methods.dpo import DPO
from mora_jobs.api.training import Method as MethodSpec
from mora_jobs.api.training import MethodName

__all__ = ["Method", "make"]


def make(spec: MethodSpec) -> Method:
    """The method that the spec names."""
    match spec.name:
        case MethodName.DPO:
            return DPO(spec.beta)
