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
    ("kind", "reason", "before", "again", "counter", "spent"),
    [
        ("App", "RuntimeError", {}, True, "failed", False),
        ("App", "RuntimeError", {"failed": 1, "infraRestarts": 9}, True, "failed", False),
        ("App", "RuntimeError", {"failed": 2}, False, "failed", True),
        ("Infra", "NodeLost", {"failed": 9, "infraRestarts": 2}, True, "infraRestarts", False),
        ("Infra", "NodeLost", {"infraRestarts": 3}, False, "infraRestarts", True),
        ("Infra", "OutOfDisk", {}, False, "infraRestarts", False),
        ("Infra", "Preempted", {"infraRestarts": 99}, True, None, False),
        ("UserError", "InvalidReward", {}, False, None, False),
        ("UserError", "InvalidInput", {}, True, "failed", False),
        ("UserError", "InvalidInput", {"failed": 2}, False, "failed", True),
    ],
)
def test_the_first_rule_decides_and_else_the_budget_of_the_class(kind, reason, before, again, counter, spent):
    spec = CommonSpec.model_validate({"backoffLimit": 2, "failurePolicy": {"maxInfraRestarts": 3, "rules": RULES}})
    exit = Exit.model_validate({"class": kind, "reason": reason, "message": ""})
    assert decide(spec, exit, before) == Decision(again, counter, spent)


def test_the_wait_doubles_up_to_a_bound():
    assert [delay_seconds(n, 10) for n in (1, 2, 3, 6, 99)] == [10, 20, 40, 320, 360]
