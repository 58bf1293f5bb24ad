"""Which flows the operator's NetworkPolicy lets through, as a table."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from chart import EVERYTHING, Object, default, everything, render

from mora_operator.resources import KIND_LABEL

JOB = {KIND_LABEL: "RolloutJob"}
TEST = {"app.kubernetes.io/name": "mora-operator-test", "app.kubernetes.io/instance": "mora-operator"}
OWN = "mora-system"


def selects(selector: Object | None, labels: dict[str, str]) -> bool:
    """A label selector, as Kubernetes reads it."""
    selector = selector or {}
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    meanings = {
        "Exists": lambda value, values: value is not None,
        "In": lambda value, values: value in values,
    }
    return all(
        meanings[each["operator"]](labels.get(each["key"]), each.get("values", []))
        for each in selector.get("matchExpressions", [])
    )


def matches(peer: Object, namespace: str, labels: dict[str, str] | None, address: str | None) -> bool:
    if "ipBlock" in peer:
        return address is not None and ip_address(address) in ip_network(peer["ipBlock"]["cidr"])
    if labels is None:
        return False
    if "namespaceSelector" in peer:
        there = selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
    else:
        there = namespace == OWN
    return there and selects(peer.get("podSelector"), labels)


def passes(
    rules: list[Object], side: str, port: int, protocol: str = "TCP", *, namespace: str = "",
    labels: dict[str, str] | None = None, address: str | None = None,
) -> bool:  # fmt: skip
    """Whether any rule lets this through. No `from`/`to` is everybody, no `ports` is every port."""
    return any(
        any(each.get("port") == port and each.get("protocol", "TCP") == protocol for each in rule.get("ports", []))
        and (side not in rule or any(matches(peer, namespace, labels, address) for peer in rule[side]))
        for rule in rules
    )


INGRESS: list[tuple[str, Any, int, dict[str, Any], bool]] = [
    ("a job's pod reports", default, 8443, {"namespace": "any", "labels": JOB}, True),
    ("another pod reports", default, 8443, {"namespace": "any", "labels": {"app": "x"}}, False),
    ("helm test reports", default, 8443, {"namespace": OWN, "labels": TEST}, True),
    ("helm test of another namespace", default, 8443, {"namespace": "other", "labels": TEST}, False),
    ("from outside", default, 8443, {"address": "198.51.100.7"}, False),
    ("any pod reads metrics", default, 8080, {"namespace": "monitoring", "labels": {}}, True),
    ("outside reads metrics", default, 8080, {"address": "198.51.100.7"}, False),
    ("another port", default, 22, {"namespace": "any", "labels": JOB}, False),
    ("a job of a served namespace", everything, 8443, {"namespace": "team-one", "labels": JOB}, True),
    ("a job of another namespace", everything, 8443, {"namespace": "other", "labels": JOB}, False),
    ("Prometheus reads metrics", everything, 8080, {"namespace": "monitoring", "labels": {}}, True),
    ("a job reads metrics", everything, 8080, {"namespace": "team-one", "labels": JOB}, False),
    ("helm test asks for health", everything, 8080, {"namespace": OWN, "labels": TEST}, True),
    ("a further rule", everything, 8080, {"address": "192.0.2.2"}, True),
]


@pytest.mark.parametrize(
    ("made", "port", "peer", "through"), [row[1:] for row in INGRESS], ids=[row[0] for row in INGRESS]
)
def test_who_reaches_the_operator(made: Any, port: int, peer: dict[str, Any], through: bool) -> None:
    assert passes(made().one("NetworkPolicy")["spec"]["ingress"], "from", port, **peer) is through


EGRESS: list[tuple[str, Any, int, str, dict[str, Any], bool]] = [
    ("DNS", default, 53, "UDP", {"namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}}, True),
    ("DNS on the node", default, 53, "UDP", {"address": "169.254.20.10"}, True),
    ("DNS elsewhere", default, 53, "UDP", {"address": "198.51.100.53"}, False),
    ("the API server's Service", default, 443, "TCP", {"address": "10.96.0.1"}, True),
    ("the API server of kubeadm", default, 6443, "TCP", {"address": "192.0.2.10"}, True),
    ("the API server of minikube", default, 8443, "TCP", {"address": "192.168.49.2"}, True),
    ("the API server of MicroK8s", default, 16443, "TCP", {"address": "192.0.2.10"}, True),
    ("the web", default, 80, "TCP", {"address": "198.51.100.80"}, False),
    ("the named API server", everything, 443, "TCP", {"address": "192.0.2.1"}, True),
    ("another address", everything, 443, "TCP", {"address": "198.51.100.1"}, False),
    ("another port of it", everything, 6443, "TCP", {"address": "192.0.2.1"}, False),
    ("a further rule", everything, 4317, "TCP", {"address": "192.0.2.3"}, True),
]


@pytest.mark.parametrize(
    ("made", "port", "protocol", "peer", "through"), [row[1:] for row in EGRESS], ids=[row[0] for row in EGRESS]
)
def test_whom_the_operator_reaches(made: Any, port: int, protocol: str, peer: dict[str, Any], through: bool) -> None:
    assert passes(made().one("NetworkPolicy")["spec"]["egress"], "to", port, protocol, **peer) is through


def test_both_directions_are_restricted() -> None:
    assert default().one("NetworkPolicy")["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_nobody_but_the_test_reads_metrics_where_nobody_is_named() -> None:
    policy = render({"networkPolicy": {"metricsFrom": []}}).one("NetworkPolicy")["spec"]
    assert policy["ingress"][1]["from"] == [{"podSelector": {"matchLabels": TEST}}]


def test_every_part_of_everything_is_used() -> None:
    assert set(EVERYTHING["networkPolicy"]) == {"apiServer", "metricsFrom", "extraIngress", "extraEgress"}
