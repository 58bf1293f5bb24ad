"""Pod templates: what hardens them, what is mounted into them, and what KubeRay trips over."""

import json
from typing import Any

import pytest
from attempts import templates
from builders import UID, rollout_job
from rendered import mounts, objects, variables

from mora_jobs.api import ResolvedJob
from mora_operator.render.names import CODE, CONFIG
from mora_operator.render.objects import ENTRYPOINT


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


def test_shared_memory_is_the_jobs_own_and_sized() -> None:
    job = rollout_job(cluster={"workers": {"shmSize": "8Gi"}})
    (volume,) = [
        each for each in templates(objects(job)["RayJob"])["worker"]["spec"]["volumes"] if each["name"] == "dshm"
    ]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}


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


def test_the_entrypoint_holds_nothing_of_the_user() -> None:
    """Pitfall: KubeRay puts the entrypoint into `bash -c` unquoted."""
    evil = rollout_job(sampling={"stop": ["; rm -rf /", "$(id)"]})
    spec = objects(evil)["RayJob"]["spec"]
    assert spec["entrypoint"] == ENTRYPOINT == "python -m mora_jobs --job /etc/mora/job.json"
    assert "rm -rf" not in json.dumps(spec)


def test_the_submitter_has_all_that_kuberays_own_lacks() -> None:
    """Pitfall: a submitterPodTemplate is taken as it is, and KubeRay's default has none of these."""
    pod = {
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "nodeSelector": {"pool": "cpu"},
        "securityContext": {"runAsUser": 2000},
        "env": [{"name": "X", "value": "1"}],
        "resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}],
    }
    job = rollout_job(cluster={"head": {"pod": pod}, "imagePullSecrets": [{"name": "registry"}]})
    spec = templates(objects(job)["RayJob"])["submitter"]["spec"]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["serviceAccountName"] == "tiny-rlj"
    assert spec["tolerations"] == pod["tolerations"]
    assert spec["nodeSelector"] == pod["nodeSelector"]
    assert spec["securityContext"]["runAsUser"] == 2000
    assert spec["containers"][0]["resources"]["limits"] == {"memory": "1Gi"}
    assert "resourceClaims" not in spec, "it needs no device"
    assert "env" not in spec["containers"][0]


def test_the_submitter_outlives_a_broken_log_stream() -> None:
    """Pitfall: KubeRay fails a job 30 s after its submitter, which ends when it can no longer read the log."""
    assert objects(rollout_job())["RayJob"]["spec"]["submitterConfig"] == {"backoffLimit": 6}


def test_the_ray_version_is_always_told() -> None:
    """Pitfall: without it KubeRay refuses token authentication, and takes the wrong autoscaler."""
    for cluster in ({}, {"auth": {"mode": "Disabled"}}):
        assert objects(rollout_job(cluster=cluster))["RayJob"]["spec"]["rayClusterSpec"]["rayVersion"] == "2.60.0"


def test_kuberay_decides_about_restarts_and_probes_of_ray_pods() -> None:
    """Pitfall: a restartPolicy other than Never forbids its autoscaler; its probes go where none are given."""
    pods = templates(objects(rollout_job())["RayJob"])
    assert pods["submitter"]["spec"]["restartPolicy"] == "Never", "a Kubernetes Job admits no Always"
    for role in ("head", "worker"):
        assert "restartPolicy" not in pods[role]["spec"]
        (container,) = pods[role]["spec"]["containers"]
        assert not {"livenessProbe", "readinessProbe", "startupProbe", "command", "args", "ports"} & set(container)


@pytest.mark.parametrize(
    ("resources", "limit"),
    [
        ({}, "64Gi"),
        ({"limits": {"ephemeral-storage": "1Ti"}}, "1Ti"),
        ({"requests": {"ephemeral-storage": "2Gi"}}, "2Gi"),
        ({"requests": {"ephemeral-storage": "2Gi"}, "limits": {"ephemeral-storage": "8Gi"}}, "8Gi"),
    ],
)
@pytest.mark.parametrize("group", ["head", "workers"])
def test_scratch_space_is_bounded_and_follows_ephemeral_storage(
    group: str, resources: dict[str, Any], limit: str
) -> None:
    """Pitfall: Ray's logs and spilled objects fill the node's disk until the kubelet evicts the head."""
    pods = templates(objects(rollout_job(cluster={group: {"resources": resources}}))["RayJob"])
    spec = pods[group.removesuffix("s")]["spec"]
    (volume,) = [each for each in spec["volumes"] if each["name"] == "scratch"]
    assert volume["emptyDir"] == {"sizeLimit": limit}
    assert mounts({"spec": spec})["/tmp"]["name"] == "scratch"


def test_names_of_volumes_differ_whatever_they_stand_for() -> None:
    claims = ["a.b", "a-b", "x" * 253, "x" * 252 + "y"]
    credentials = [
        {"name": f"{'c' * 60}-{index}", "secretRef": {"name": "s", "key": "k"}, "mountPath": f"/c{index}"}
        for index in range(3)
    ]
    rewards = [
        {"name": f"r{index}", "python": {"callable": "a:b", "codeConfigMapRef": {"name": name}}}
        for index, name in enumerate(claims)
    ]
    prompts = {"uri": f"pvc://{claims[0]}/p"}
    models = [{"name": f"m{index}", "uri": f"pvc://{claim}/m"} for index, claim in enumerate(claims[1:])]
    job = rollout_job(
        credentials=credentials, rewards=rewards, prompts=prompts, model={"uri": "pvc://m/m", "adapters": models}
    )
    volumes = [each["name"] for each in templates(objects(job)["RayJob"])["worker"]["spec"]["volumes"]]
    assert len(set(volumes)) == len(volumes) == 3 + 6 + 4 + 3  # job, dshm, scratch; claims; code; credentials
    assert max(map(len, volumes)) <= 63


def test_a_variable_stands_once_and_the_manifests_value_wins_over_a_default() -> None:
    env = [{"name": "PYTHONUNBUFFERED", "value": "0"}, {"name": "X", "value": "1"}]
    template = templates(objects(rollout_job(cluster={"workers": {"pod": {"env": env}}}))["RayJob"])["worker"]
    names = [each["name"] for each in template["spec"]["containers"][0]["env"]]
    assert len(set(names)) == len(names)
    assert variables(template)["PYTHONUNBUFFERED"] == "0"


def test_a_claimed_device_reaches_the_ray_container() -> None:
    claims = [{"name": "gpu", "resourceClaimTemplateName": "gpus"}]
    spec = templates(objects(rollout_job(cluster={"workers": {"pod": {"resourceClaims": claims}}}))["RayJob"])
    assert spec["worker"]["spec"]["resourceClaims"] == claims
    assert spec["worker"]["spec"]["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]


def test_volumes_of_a_patch_are_added_and_scratch_may_be_mounted_again() -> None:
    pod = {
        "volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}}],
        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}, {"name": "scratch", "mountPath": "/scratch"}],
    }
    found = mounts(templates(objects(rollout_job(cluster={"workers": {"pod": pod}}))["RayJob"])["worker"])
    assert (found["/cache"]["name"], found["/scratch"]["name"], found["/tmp"]["name"]) == (
        "cache",
        "scratch",
        "scratch",
    )
