"""Which failures are followed by another attempt."""

import pytest

from mora_jobs.api.cluster import CommonSpec
from mora_jobs.api.retries import Decision, decide, delay_seconds
from mora_jobs.api.status import Exit

RULES = [
    {"name": "never", "action": "FailJob", "onReasons": ["OutOfDisk"]},
    {"name": "always", "action": "RetryIgnoreLimit", "onReasons": ["Preempted"]},
    {"name": "even-so", "action": "Retry", "onReasons": ["InvalidInput"]},
    {"name": "too-late", "action": "RetryIgnoreLimit", "onReasons": ["OutOfDisk"]},
]


@pytest.mark.parametrize(
    ("kind", "reason", "before", "again", "counter"),
    [
        ("App", "RuntimeError", {}, True, "failed"),
        ("App", "RuntimeError", {"failed": 1, "infraRestarts": 9}, True, "failed"),
        ("App", "RuntimeError", {"failed": 2}, False, "failed"),
        ("Infra", "NodeLost", {"failed": 9, "infraRestarts": 2}, True, "infraRestarts"),
        ("Infra", "NodeLost", {"infraRestarts": 3}, False, "infraRestarts"),
        ("Infra", "OutOfDisk", {}, False, "infraRestarts"),
        ("Infra", "Preempted", {"infraRestarts": 99}, True, None),
        ("UserError", "InvalidReward", {}, False, None),
        ("UserError", "InvalidInput", {}, True, "failed"),
        ("UserError", "InvalidInput", {"failed": 2}, False, "failed"),
    ],
)
def test_the_first_rule_decides_and_else_the_budget_of_the_class(kind, reason, before, again, counter):
    spec = CommonSpec.model_validate({"backoffLimit": 2, "failurePolicy": {"maxInfraRestarts": 3, "rules": RULES}})
    exit = Exit.model_validate({"class": kind, "reason": reason, "message": ""})
    assert decide(spec, exit, before) == Decision(again, counter)


def test_the_wait_doubles_up_to_a_bound():
    assert [delay_seconds(n, 10) for n in (1, 2, 3, 6, 99)] == [10, 20, 40, 320, 360]
