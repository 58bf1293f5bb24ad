"""A table of flows against the rendered NetworkPolicy: what a job needs goes through, and nothing else."""

from typing import Any

import pytest
from builders import SETTINGS, UID, rollout_job
from network_flows import Peer, allows
from rendered import objects

from mora_jobs.api import Job, RewriteJob

HOME = "team-a"
LOCAL = rollout_job()
HUB = rollout_job(model={"uri": "hf://owner/name"})
S3 = rollout_job(output={"uri": "s3://bucket/run"})
EXTRA = rollout_job(cluster={"networkPolicy": {"extraEgress": [
    {"cidr": "10.9.0.0/16", "port": 9000},
    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}, "podSelector": {}, "port": 8000},
]}})  # fmt: skip


def rewriting_at(url: str) -> Job:
    spec = {
        "source": {"rolloutJobRef": {"name": "before"}},
        "rewriter": {"openAICompatible": {"baseURL": url, "model": "m"}},
        "output": {"uri": "pvc://data/rewrite"},
    }
    return RewriteJob.model_validate({"metadata": {"name": "tiny", "uid": UID}, "spec": spec})


ENDPOINT = rewriting_at("http://vllm.models.svc:8000/v1")
OPENAI = rewriting_at("https://api.example.com/v1")

DNS = Peer.pod("kube-system", k8s_app="kube-dns")
OPERATOR = Peer(
    SETTINGS.operator_labels, SETTINGS.operator_namespace, {"kubernetes.io/metadata.name": SETTINGS.operator_namespace}
)
KUBERAY = Peer(SETTINGS.kuberay_labels, "ray-system", {"kubernetes.io/metadata.name": "ray-system"})
NEIGHBOUR = Peer.pod(HOME, app="notebook")
OTHER_TEAM = Peer.pod("team-b", app="notebook")
MODELS = Peer.pod("models", app="vllm")
API_SERVER = Peer.pod("kube-system", component="kube-apiserver")
INTERNET, METADATA, PRIVATE = Peer.outside("93.184.216.34"), Peer.outside("169.254.169.254"), Peer.outside("10.9.1.2")
INTERNET6 = Peer.outside("2606:2800:220:1::1")


def own(job: Job) -> Peer:
    labels = policy(job)["spec"]["podSelector"]["matchLabels"]
    return Peer(dict(labels), HOME, {"kubernetes.io/metadata.name": HOME})


def policy(job: Job) -> dict[str, Any]:
    made: dict[str, Any] = objects(job)["NetworkPolicy"]
    return made


@pytest.mark.parametrize(
    "job", [LOCAL, HUB, S3, EXTRA, ENDPOINT, OPENAI], ids=["local", "hf", "s3", "extra", "url", "https"]
)
def test_every_job_reaches_its_own_pods_names_and_the_operator_and_is_reached_by_kuberay(job: Job) -> None:
    flows = [
        ("Egress", own(job), 6379, "TCP", True),  # Ray's own ports are many: all of them between a job's pods
        ("Ingress", own(job), 10002, "TCP", True),
        ("Egress", DNS, 53, "UDP", True),
        ("Egress", DNS, 53, "TCP", True),
        ("Egress", Peer.outside("169.254.20.10"), 53, "UDP", True),  # NodeLocal DNSCache
        ("Egress", OPERATOR, SETTINGS.progress_port, "TCP", True),
        ("Ingress", KUBERAY, 8265, "TCP", True),
        ("Ingress", KUBERAY, 6379, "TCP", False),
        ("Ingress", NEIGHBOUR, 8265, "TCP", False),
        ("Ingress", OTHER_TEAM, 8265, "TCP", False),
        ("Ingress", INTERNET, 8265, "TCP", False),
        ("Egress", DNS, 9153, "TCP", False),
        ("Egress", OPERATOR, 8080, "TCP", False),
        ("Egress", INTERNET, 53, "UDP", False),  # a way out for data, through somebody's own name server
        ("Egress", INTERNET, 22, "TCP", False),
        ("Egress", METADATA, 80, "TCP", False),
        ("Egress", API_SERVER, 6443, "TCP", False),
    ]
    rendered = policy(job)
    for direction, peer, port, protocol, want in flows:
        assert allows(rendered, HOME, direction, peer, port, protocol) is want, (direction, peer, port, protocol)


@pytest.mark.parametrize(
    ("peer", "port", "reached_by"),
    [
        pytest.param(INTERNET, 443, (HUB, S3, OPENAI), id="the internet by HTTPS"),
        pytest.param(INTERNET6, 443, (HUB, S3, OPENAI), id="the internet by HTTPS, IPv6"),
        pytest.param(INTERNET, 80, (), id="the internet by HTTP"),
        pytest.param(PRIVATE, 9000, (EXTRA,), id="a store of one's own"),
        pytest.param(PRIVATE, 9001, (), id="another port there"),
        pytest.param(MODELS, 8000, (EXTRA, ENDPOINT), id="an endpoint in a pod"),
        pytest.param(INTERNET, 8000, (ENDPOINT,), id="an endpoint outside"),
        pytest.param(NEIGHBOUR, 8000, (ENDPOINT,), id="a name may be any pod"),
        pytest.param(NEIGHBOUR, 8888, (), id="a neighbour"),
        pytest.param(OTHER_TEAM, 5432, (), id="another team's database"),
    ],
)
def test_what_a_job_names_is_reached_and_nothing_else(peer: Peer, port: int, reached_by: tuple[Job, ...]) -> None:
    jobs = {"local": LOCAL, "hf": HUB, "s3": S3, "extra": EXTRA, "url": ENDPOINT, "https": OPENAI}
    reached = {name for name, job in jobs.items() if allows(policy(job), HOME, "Egress", peer, port)}
    assert reached == {name for name, job in jobs.items() if job in reached_by}
