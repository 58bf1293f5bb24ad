"""render(): which objects an attempt has, and what the driver and the network are told."""

import json
import re
from typing import Any

import pytest
from attempts import CA, schema, templates
from builders import KEY, SETTINGS, UID, rollout_job
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rendered import objects

from mora_jobs.api import AlignmentJob, ResolvedJob, RewriteJob
from mora_operator.render.names import CODE
from mora_operator.render.network import network_policy
from mora_operator.render.objects import Attempt, config_map, render
from mora_operator.resources import JobKey
from mora_operator.settings import Settings


def test_the_rayjob_comes_last_and_everything_belongs_to_the_job() -> None:
    made = render(Attempt(KEY, UID, rollout_job(), 2, ()), SETTINGS, schema())
    assert [resource.kind for resource, _ in made] == ["ServiceAccount", "NetworkPolicy", "RayJob"]
    assert [body["metadata"]["name"] for _, body in made] == ["tiny-rlj", "tiny-rlj", "tiny-a2"]
    for _, body in made:
        (owner,) = body["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("RolloutJob", "tiny", UID, True)
        assert body["metadata"]["namespace"] == "team-a"
        assert body["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "mora-operator"


def test_the_config_map_goes_with_its_attempt() -> None:
    made = config_map(Attempt(KEY, UID, rollout_job(), 2, ()), CA, "uid-of-the-rayjob")
    assert made["metadata"]["name"] == "tiny-a2"
    assert made["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "ray.io/v1", "kind": "RayJob", "name": "tiny-a2", "uid": "uid-of-the-rayjob",
            "controller": False, "blockOwnerDeletion": False,
        }
    ]  # fmt: skip


def test_what_all_attempts_share_bears_no_attempts_label() -> None:
    made = objects(rollout_job(), 2)
    labelled = {kind for kind, body in made.items() if "mora.dev/attempt" in body["metadata"]["labels"]}
    assert labelled == {"RayJob", "ConfigMap"}


def test_a_job_is_resolved_once_for_each_attempt() -> None:
    attempt = Attempt(KEY, UID, rollout_job(), 1, ())
    assert attempt.resolved is attempt.resolved


def test_rendering_is_deterministic() -> None:
    assert objects(rollout_job()) == objects(rollout_job())


def test_the_driver_reads_the_resolved_job_with_paths_of_its_pods() -> None:
    reference = rollout_job({"name": "before"}, output={"uri": "pvc://other/before"})
    data = objects(rollout_job(prompts={"rolloutJobRef": {"name": "before"}}), 3, (reference,))["ConfigMap"]["data"]
    resolved = ResolvedJob.load(data["job.json"])
    assert resolved.attempt == 3
    assert resolved.job.spec.output.uri == "file:///mnt/mora/volumes/data/runs/tiny"
    assert resolved.rollout_job("before").spec.output.uri == "file:///mnt/mora/volumes/other/before"
    assert data["ca.crt"] == CA


@pytest.mark.parametrize(
    ("cluster", "check"),
    [
        ({}, lambda spec: spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}),
        ({"auth": {"mode": "Disabled"}}, lambda spec: "authOptions" not in spec["rayClusterSpec"]),
        (
            {"submissionMode": "HTTPMode"},
            lambda spec: "submitterPodTemplate" not in spec and "submitterConfig" not in spec,
        ),
        ({}, lambda spec: spec["backoffLimit"] == 0 and spec["shutdownAfterJobFinishes"] is True),
        ({"ttlSecondsAfterFinished": 7}, lambda spec: spec["ttlSecondsAfterFinished"] == 7),
        ({"rayVersion": "2.61.0"}, lambda spec: spec["rayClusterSpec"]["rayVersion"] == "2.61.0"),
    ],
)
def test_cluster_settings(cluster: dict[str, Any], check: Any) -> None:
    assert check(objects(rollout_job(cluster=cluster))["RayJob"]["spec"])


@pytest.mark.parametrize(
    ("spec", "deadline"),
    [
        ({}, None),
        ({"attemptDeadlineSeconds": 60}, 60),
        ({"activeDeadlineSeconds": 50, "attemptDeadlineSeconds": 60}, 60),  # the job's own is plan()'s
        ({"activeDeadlineSeconds": 50}, None),
    ],
)
def test_deadlines(spec: dict[str, Any], deadline: int | None) -> None:
    assert objects(rollout_job(**spec))["RayJob"]["spec"].get("activeDeadlineSeconds") == deadline


@given(st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True), st.integers(1, 9999))
@example("a" * 40, 9999)
@settings(deadline=None)
def test_names_fit_what_kuberay_and_kubernetes_allow(name: str, index: int) -> None:
    """Pitfall: a RayJob of more than 47 characters, or one that is no DNS-1035 label, is refused for good."""
    made = objects(rollout_job({"name": name}), index, key=JobKey("RolloutJob", "team-a", name))
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", made["RayJob"]["metadata"]["name"])
    assert max(len(body["metadata"]["name"]) for body in made.values()) <= 47


def ports(policy: dict[str, Any]) -> set[int]:
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}


def test_a_whole_claim_is_a_folder_without_a_slash_at_its_end() -> None:
    made = objects(rollout_job(output={"uri": "pvc://data"}))
    assert (
        ResolvedJob.load(made["ConfigMap"]["data"]["job.json"]).job.spec.output.uri == "file:///mnt/mora/volumes/data"
    )


@pytest.mark.parametrize("url", ["http://models:99999/v1", "http://models:port/v1", "http://[::1/v1"])
def test_an_endpoint_that_cannot_be_opens_no_way_and_is_left_to_the_driver(url: str) -> None:
    reward = {"name": "served", "http": {"url": url}}
    assert ports(objects(rollout_job(rewards=[reward]))["NetworkPolicy"]) == {53, SETTINGS.progress_port}


def test_the_network_is_closed_but_for_what_is_needed() -> None:
    policy = objects(rollout_job())["NetworkPolicy"]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert ports(policy) == {53, SETTINGS.progress_port}
    remote = rollout_job(model={"uri": "hf://owner/name"})
    assert ports(objects(remote)["NetworkPolicy"]) == {53, SETTINGS.progress_port, 443}
    extra = {"networkPolicy": {"extraEgress": [{"cidr": "10.1.0.0/16", "port": 9000}]}}
    assert 9000 in ports(objects(rollout_job(cluster=extra))["NetworkPolicy"])
    assert "NetworkPolicy" not in objects(rollout_job(cluster={"networkPolicy": {"mode": "Disabled"}}))


def test_a_reference_that_lies_outside_opens_the_way_to_it() -> None:
    reference = rollout_job({"name": "before"}, output={"uri": "s3://bucket/before"})
    assert 443 in ports(objects(rollout_job(), 1, (reference,))["NetworkPolicy"])


def test_the_way_opens_for_uris_only_not_for_what_pods_happen_to_name_so() -> None:
    csi = {"name": "v", "csi": {"driver": "d", "volumeAttributes": {"url": "https://x", "uri": "pvc://other/x"}}}
    made = objects(rollout_job(cluster={"head": {"pod": {"volumes": [csi]}}}))
    assert ports(made["NetworkPolicy"]) == {53, SETTINGS.progress_port}
    assert not any(each.get("persistentVolumeClaim", {}).get("claimName") == "other" for each in head_volumes(made))
    assert "pvc://other/x" in made["ConfigMap"]["data"]["job.json"]


def head_volumes(made: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = templates(made["RayJob"])["head"]["spec"]["volumes"]
    return found


def test_a_named_service_account_is_used_and_none_is_made() -> None:
    made = objects(rollout_job(cluster={"serviceAccountName": "workload-identity"}))
    assert "ServiceAccount" not in made
    assert templates(made["RayJob"])["head"]["spec"]["serviceAccountName"] == "workload-identity"


def test_a_job_inherits_what_the_jobs_it_refers_to_need() -> None:
    """Rewriting draws and scores with its rollout job's rewards: their code, their credentials, their volumes."""
    reward = {"name": "length", "python": {"callable": "rewards:length", "codeConfigMapRef": {"name": "code"}}}
    credentials = [{"name": "hub", "secretRef": {"name": "tokens", "key": "hf"}, "as": "Env"}]
    source = rollout_job(rewards=[reward], credentials=credentials)
    spec = {
        "source": {"rolloutJobRef": {"name": "tiny"}},
        "rewriter": {"templates": [{"name": "all", "template": "{{ prompt }} Why?"}]},
        "output": {"uri": "pvc://other/rewrite"},
    }
    job = RewriteJob.model_validate({"metadata": {"name": "second"}, "spec": spec})
    made = objects(job, references=(source,))
    resolved = ResolvedJob.load(made["ConfigMap"]["data"]["job.json"])
    assert resolved.import_paths == [f"{CODE}/code"]
    assert [credential.name for credential in resolved.job.spec.credentials] == ["hub"]
    for node in ("head", "worker"):
        volumes = templates(made["RayJob"])[node]["spec"]["volumes"]
        claimed = {
            volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume
        }
        assert claimed == {"data", "models", "other"}
    head = templates(made["RayJob"])["head"]["spec"]
    assert {"code"} <= {volume.get("configMap", {}).get("name") for volume in head["volumes"]}
    assert "tokens" in json.dumps(head["containers"][0]["env"])


def test_evaluation_samples_as_the_rollout_job_did() -> None:
    source = rollout_job(sampling={"samplesPerPrompt": 4, "temperature": 0.5})
    spec = {
        "model": {"uri": "pvc://models/tiny"},
        "data": {"rolloutJobRef": {"name": "tiny"}},
        "objectives": [{"name": "length"}],
        "lora": {},
        "output": {"uri": "pvc://data/align"},
    }
    job = AlignmentJob.model_validate({"metadata": {"name": "third"}, "spec": spec})
    resolved = ResolvedJob.load(objects(job, references=(source,))["ConfigMap"]["data"]["job.json"])
    assert isinstance(resolved.job, AlignmentJob)
    sampling = resolved.job.spec.generation.sampling
    assert sampling is not None
    assert sampling.temperature == 0.5


def test_kuberay_may_be_looked_for_in_one_namespace_only() -> None:
    def peers(settings: Settings) -> dict[str, Any]:
        spec = network_policy(rollout_job(), (), {}, settings)
        found: dict[str, Any] = spec["ingress"][1]["from"][0]["namespaceSelector"]
        return found

    assert peers(SETTINGS) == {}
    one = SETTINGS.model_copy(update={"kuberay_namespace": "ray-system"})
    assert peers(one) == {"matchLabels": {"kubernetes.io/metadata.name": "ray-system"}}
