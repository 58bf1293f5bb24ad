"""Whether another attempt is made after one that ended badly: one rule, whoever runs the job."""

from collections.abc import Mapping
from dataclasses import dataclass

from mora_jobs.api.cluster import CommonSpec, FailureAction
from mora_jobs.api.status import Exit, ExitClass

COUNTERS = {ExitClass.APP: "failed", ExitClass.INFRA: "infraRestarts"}


@dataclass(frozen=True, slots=True)
class Decision:
    """`counter` is the member of status.attempts that this failure counts in, None for one that is not counted; `spent`
    tells that the job ends because that budget is used up, and not because of whose fault it was or of a rule."""

    again: bool
    counter: str | None
    spent: bool = False


def decide(spec: CommonSpec, exit: Exit, attempts: Mapping[str, int]) -> Decision:
    """What follows from `exit`, with `attempts` (status.attempts) as they were before it.

    The first rule of spec.failurePolicy that names the reason decides. Without one a user's mistake is final, failures of
    the application are retried spec.backoffLimit times and faults of the infrastructure maxInfraRestarts times.
    """
    counter = COUNTERS.get(exit.class_)
    limits = {"failed": spec.backoff_limit, "infraRestarts": spec.failure_policy.max_infra_restarts}
    for rule in spec.failure_policy.rules:
        if exit.reason in rule.on_reasons:
            if rule.action is FailureAction.RETRY_IGNORE_LIMIT:
                return Decision(True, None)
            if rule.action is FailureAction.FAIL_JOB:
                return Decision(False, counter)
            counter = counter or "failed"  # a mistake that the rule wants retried
            break
    if counter is None:
        return Decision(False, None)
    again = attempts.get(counter, 0) < limits[counter]
    return Decision(again, counter, spent=not again)


def delay_seconds(failures: int, base: float, most: float = 360.0) -> float:
    """The wait before the next attempt after `failures` in a row: it doubles, as for Kubernetes Jobs."""
    return float(min(base * 2.0 ** min(failures - 1, 32), most))
