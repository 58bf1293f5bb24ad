"""What a NetworkPolicy lets through, by the rules of networking.k8s.io/v1: for clusters whose network enforces none."""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """A pod with its labels and its namespace's, or an address outside (labels None)."""

    labels: dict[str, str] | None = None
    namespace: str = ""
    namespace_labels: dict[str, str] = field(default_factory=dict)
    address: str = "10.244.0.9"

    @staticmethod
    def pod(namespace: str, **labels: str) -> "Peer":
        own = {name.replace("_", "."): value for name, value in labels.items()}
        return Peer(own, namespace, {"kubernetes.io/metadata.name": namespace})

    @staticmethod
    def outside(address: str) -> "Peer":
        return Peer(address=address)


def allows(policy: Object, home: str, direction: str, peer: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether pods that `policy` (in the namespace `home`) selects may talk to (Egress) or hear (Ingress) `peer` on a port."""
    spec = policy["spec"]
    if direction not in spec["policyTypes"]:
        return True
    side = "to" if direction == "Egress" else "from"
    rules = spec.get(direction.lower(), [])
    return any(
        (not rule.get(side) or any(_is(each, peer, home) for each in rule[side]))
        and (not rule.get("ports") or any(_on(each, port, protocol) for each in rule["ports"]))
        for rule in rules
    )


def _is(wanted: Object, peer: Peer, home: str) -> bool:
    if "ipBlock" in wanted:
        address, block = ip_address(peer.address), wanted["ipBlock"]
        inside = address in ip_network(block["cidr"])
        # Plugins differ on whether a range covers pods: a policy is to hold where it does not.
        return (
            peer.labels is None and inside and not any(address in ip_network(each) for each in block.get("except", []))
        )
    if peer.labels is None:
        return False
    if "namespaceSelector" in wanted:
        at_home = _selects(wanted["namespaceSelector"], peer.namespace_labels)
    else:
        at_home = peer.namespace == home
    return at_home and _selects(wanted.get("podSelector", {}), peer.labels)


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    assert not set(selector) - {"matchLabels"}, "only matchLabels are read here"
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def _on(wanted: Object, port: int, protocol: str) -> bool:
    return wanted.get("protocol", "TCP") == protocol and wanted.get("port", port) == port
