"""render(): what the objects of an attempt say."""

import json
from typing import Any

import pytest
from builders import KEY, SETTINGS, UID, rollout_job
from hypothesis import given
from hypothesis import strategies as st

from mora_jobs.api import AlignmentJob, Job, ResolvedJob, RewriteJob
from mora_operator.pods import CODE, CONFIG
from mora_operator.render import ENTRYPOINT, Attempt, gpu_count, render
from mora_operator.settings import Settings

CA = "-----BEGIN CERTIFICATE-----\n"


def objects(
    job: Job, index: int = 1, references: tuple[Job, ...] = (), settings: Settings = SETTINGS
) -> dict[str, Any]:
    attempt = Attempt(KEY, UID, job, index, references)
    return {resource.kind: body for resource, body in render(attempt, settings, CA)}


def templates(rayjob: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = rayjob["spec"]["rayClusterSpec"]
    found = {"head": cluster["headGroupSpec"]["template"], "worker": cluster["workerGroupSpecs"][0]["template"]}
    if "submitterPodTemplate" in rayjob["spec"]:
        found["submitter"] = rayjob["spec"]["submitterPodTemplate"]
    return found


def variables(template: dict[str, Any]) -> dict[str, Any]:
    return {
        each["name"]: each.get("value", each.get("valueFrom")) for each in template["spec"]["containers"][0]["env"]
    }


def test_the_rayjob_comes_last_and_everything_belongs_to_the_job() -> None:
    made = render(Attempt(KEY, UID, rollout_job(), 2, ()), SETTINGS, CA)
    assert [resource.kind for resource, _ in made] == ["ConfigMap", "ServiceAccount", "NetworkPolicy", "RayJob"]
    assert [body["metadata"]["name"] for _, body in made] == ["tiny-a2", "tiny-rlj", "tiny-rlj", "tiny-a2"]
    for _, body in made:
        (owner,) = body["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("RolloutJob", "tiny", UID, True)
        assert body["metadata"]["namespace"] == "team-a"
        assert body["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "mora-operator"


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


def test_the_entrypoint_holds_nothing_of_the_user() -> None:
    evil = rollout_job(sampling={"stop": ["; rm -rf /", "$(id)"]})
    spec = objects(evil)["RayJob"]["spec"]
    assert spec["entrypoint"] == ENTRYPOINT == "python -m mora_jobs --job /etc/mora/job.json"
    assert "rm -rf" not in json.dumps(spec)


def test_every_pod_is_hardened() -> None:
    for role, template in templates(objects(rollout_job())["RayJob"]).items():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, role
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = spec["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert spec["serviceAccountName"] == "tiny-rlj"
        assert container["resources"]["requests"]["cpu"]
        assert container["resources"]["limits"]["memory"]
        assert "command" not in container, "KubeRay makes the command"


def test_only_the_head_gets_a_token_and_its_audience_is_this_attempts() -> None:
    pods = templates(objects(rollout_job(), 2)["RayJob"])
    assert [role for role, template in pods.items() if "serviceAccountToken" in json.dumps(template)] == ["head"]
    (volume,) = [each for each in pods["head"]["spec"]["volumes"] if "projected" in each]
    token = volume["projected"]["sources"][0]["serviceAccountToken"]
    assert token["audience"] == f"mora.dev/team-a/RolloutJob/tiny/{UID}/2"
    told = variables(pods["head"])
    assert told["KUBEFLOW_TRAINER_SERVER_URL"].endswith("/v1alpha1/team-a/rolloutjobs/tiny/2")
    assert told["KUBEFLOW_TRAINER_SERVER_CA_CERT"] == f"{CONFIG}/ca.crt"


def test_shared_memory_is_the_jobs_own_and_sized() -> None:
    job = rollout_job(cluster={"workers": {"shmSize": "8Gi"}})
    (volume,) = [
        each for each in templates(objects(job)["RayJob"])["worker"]["spec"]["volumes"] if each["name"] == "dshm"
    ]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}


def test_claims_of_the_job_and_of_what_it_refers_to_are_mounted() -> None:
    reference = rollout_job({"name": "before"}, output={"uri": "pvc://other.claim/before"})
    job = rollout_job(prompts={"rolloutJobRef": {"name": "before"}})
    pods = templates(objects(job, 1, (reference,))["RayJob"])
    for role in ("head", "worker"):
        mounts = {each["mountPath"] for each in pods[role]["spec"]["containers"][0]["volumeMounts"]}
        assert {f"/mnt/mora/volumes/{claim}" for claim in ("models", "data", "other.claim")} <= mounts
    assert "volumes" not in pods["submitter"]["spec"]


def test_code_of_rewards_is_mounted_and_importable() -> None:
    python = {"callable": "rewards:length", "codeConfigMapRef": {"name": "my-code"}}
    rewards = [{"name": name, "python": python} for name in ("a", "b")]
    made = objects(rollout_job(rewards=rewards))
    assert ResolvedJob.load(made["ConfigMap"]["data"]["job.json"]).import_paths == [f"{CODE}/my-code"]
    assert json.dumps(templates(made["RayJob"])["worker"]).count('"mountPath": "/etc/mora-code/my-code"') == 1


def test_credentials_are_references() -> None:
    secret = {"name": "s", "key": "k"}
    credentials = [
        {"name": "hf", "secretRef": secret},
        {"name": "api-key", "secretRef": secret, "as": "Env"},
        {"name": "netrc", "secretRef": secret, "mountPath": "/home/ray/.netrc"},
    ]
    head = templates(objects(rollout_job(credentials=credentials))["RayJob"])["head"]
    told = variables(head)
    assert told["API_KEY"] == {"secretKeyRef": secret}
    assert told["HF_TOKEN_PATH"] == "/var/run/secrets/mora/hf"
    mounts = {each["mountPath"]: each for each in head["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["/home/ray/.netrc"]["subPath"] == "netrc"
    assert "/var/run/secrets/mora" in mounts


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


def test_replicas_hosts_and_gpus() -> None:
    job = rollout_job(
        replicas=3,
        engine={"pipelineParallelSize": 2, "tensorParallelSize": 4},
        cluster={"workers": {"resources": {"limits": {"nvidia.com/gpu": "4"}}}},
    )
    (group,) = objects(job)["RayJob"]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (6, 6, 6)
    assert gpu_count(job) == 24


def test_labels_of_queues_are_copied_and_others_are_not() -> None:
    labels = {"kueue.x-k8s.io/queue-name": "gpu", "argocd.argoproj.io/instance": "x", "mora.dev/name": "stolen"}
    copied = objects(rollout_job({"labels": labels}))["RayJob"]["metadata"]["labels"]
    assert copied["kueue.x-k8s.io/queue-name"] == "gpu"
    assert "argocd.argoproj.io/instance" not in copied
    assert copied["mora.dev/name"] == "tiny"


def test_a_pod_patch_is_merged_and_cannot_take_a_pod_out_of_its_network_policy() -> None:
    patch = {
        "labels": {"mora.dev/name": "other", "team": "a"},
        "nodeSelector": {"pool": "gpu"},
        "env": [{"name": "X", "value": "1"}],
        "securityContext": {"runAsUser": 2000},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }
    job = rollout_job(cluster={"head": {"pod": patch}})
    pods = templates(objects(job)["RayJob"])
    labels = pods["head"]["metadata"]["labels"]
    assert (labels["mora.dev/name"], labels["team"]) == ("tiny", "a")
    assert variables(pods["head"])["X"] == "1"
    assert pods["head"]["spec"]["securityContext"]["runAsUser"] == 2000
    assert pods["head"]["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pods["submitter"]["spec"]["nodeSelector"] == {"pool": "gpu"}
    assert "nodeSelector" not in pods["worker"]["spec"]


def ports(policy: dict[str, Any]) -> set[int]:
    return {port["port"] for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}


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


def test_a_named_service_account_is_used_and_none_is_made() -> None:
    made = objects(rollout_job(cluster={"serviceAccountName": "workload-identity"}))
    assert "ServiceAccount" not in made
    assert templates(made["RayJob"])["head"]["spec"]["serviceAccountName"] == "workload-identity"


names = st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)


@given(names, st.integers(1, 99))
def test_names_fit_what_kuberay_and_kubernetes_allow(name: str, index: int) -> None:
    job = rollout_job({"name": name})
    made = render(Attempt(type(KEY)("RolloutJob", "team-a", name), UID, job, index, ()), SETTINGS, CA)
    assert max(len(body["metadata"]["name"]) for _, body in made) <= 47


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
