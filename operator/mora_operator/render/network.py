"""The NetworkPolicy of a job: its pods talk to each other, to DNS, to the operator, and to what its URIs need."""

from collections.abc import Iterable, Mapping

from mora_jobs.api import Job
from mora_jobs.api.cluster import Egress

from ..resources import Object
from ..settings import Settings
from .uris import endpoint_ports, uses_stores

DASHBOARD_PORT = 8265
EVERYWHERE: tuple[Object, ...] = ({"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}})
# NodeLocal DNSCache answers on this address, which no pod selector covers.
NODE_LOCAL_DNS: Object = {"ipBlock": {"cidr": "169.254.20.10/32"}}


def network_policy(job: Job, references: Iterable[Job], selector: Mapping[str, str], settings: Settings) -> Object:
    """The spec: everything that is not named here is denied, in both directions."""
    own: Object = {"podSelector": {"matchLabels": dict(selector)}}
    dns: Object = {"namespaceSelector": _namespace("kube-system")}
    kuberay: Object = {
        "namespaceSelector": _namespace(settings.kuberay_namespace) if settings.kuberay_namespace else {},
        "podSelector": {"matchLabels": settings.kuberay_labels},
    }
    operator: Object = {
        "namespaceSelector": _namespace(settings.operator_namespace),
        "podSelector": {"matchLabels": settings.operator_labels},
    }
    egress: list[Object] = [
        {"to": [own]},
        {"to": [dns, NODE_LOCAL_DNS], "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
        {"to": [operator], "ports": [{"port": settings.progress_port, "protocol": "TCP"}]},
    ]
    if any(uses_stores(each) for each in (job, *references)):
        egress.append({"to": list(EVERYWHERE), "ports": [{"port": 443, "protocol": "TCP"}]})
    if endpoints := sorted(endpoint_ports(job)):
        # An endpoint may be a pod, and to some network plugins no address range covers pods.
        ports = [{"port": port, "protocol": "TCP"} for port in endpoints]
        egress.append({"to": [*EVERYWHERE, {"namespaceSelector": {}}], "ports": ports})
    egress += [_extra(rule) for rule in job.spec.cluster.network_policy.extra_egress]
    return {
        "podSelector": {"matchLabels": dict(selector)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [own]}, {"from": [kuberay], "ports": [{"port": DASHBOARD_PORT, "protocol": "TCP"}]}],
        "egress": egress,
    }


def _namespace(name: str) -> Object:
    return {"matchLabels": {"kubernetes.io/metadata.name": name}}


def _extra(rule: Egress) -> Object:
    if rule.cidr is not None:
        peer: Object = {"ipBlock": {"cidr": rule.cidr}}
    else:
        peer = {"namespaceSelector": rule.namespace_selector, "podSelector": rule.pod_selector}
        peer = {name: selector for name, selector in peer.items() if selector is not None}
    return {"to": [peer], "ports": [{"port": rule.port, "protocol": "TCP"}]}
