"""The operator's pods, and the pod of `helm test`: hardened, spread, and given only flags that exist."""

from collections.abc import Callable

import pytest
from chart import EVERYTHING, Rendered, default, everything, render

from mora_operator.main import EXIT_SECONDS
from mora_operator.settings import Settings, parse

SELECTOR = {"app.kubernetes.io/name": "mora-operator", "app.kubernetes.io/instance": "mora-operator"}


@pytest.mark.parametrize("made", [default, everything])
def test_the_operator_understands_its_flags(made: Callable[[], Rendered]) -> None:
    settings = parse(made().container["args"], {})
    assert settings.operator_labels == SELECTOR
    assert settings.operator_namespace == "mora-system"
    assert settings.progress_host == "mora-operator.mora-system.svc"
    assert settings.installation == made().one("Deployment")["metadata"]["name"]


def test_the_charts_defaults_are_the_operators() -> None:
    flags = default().flags()
    for flag in ("progress_port", "health_port", "progress_interval_seconds", "ray_version", "log_level"):
        assert (
            flags[flag.replace("_", "-")]
            == f"{Settings.model_fields[flag].default:{'g' if 'seconds' in flag else ''}}"
        )
    assert parse(default().container["args"], {}).kuberay_labels == Settings().kuberay_labels


@pytest.mark.parametrize("made", [default, everything])
@pytest.mark.parametrize("which", ["operator", "helm test"])
def test_pods_are_hardened(made: Callable[[], Rendered], which: str) -> None:
    spec = made().pod["spec"] if which == "operator" else made().one("Pod")["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["enableServiceLinks"] is False
    assert container["resources"]["limits"]["memory"]
    assert spec["automountServiceAccountToken"] is (which == "operator")


def test_openshift_may_choose_the_user() -> None:
    made = render({"podSecurityContext": {"runAsUser": None, "runAsGroup": None}})
    for spec in (made.pod["spec"], made.one("Pod")["spec"]):
        assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_selectors_find_the_operators_pods_and_not_the_test() -> None:
    made = everything()
    selectors = [
        made.one("Deployment")["spec"]["selector"]["matchLabels"],
        made.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        made.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(service["spec"]["selector"] for service in made.of("Service")),
        *(rule["labelSelector"]["matchLabels"] for rule in made.pod["spec"]["topologySpreadConstraints"]),
    ]
    assert selectors == [SELECTOR] * 7
    assert SELECTOR.items() <= made.pod["metadata"]["labels"].items()
    assert not SELECTOR.items() <= made.one("Pod")["metadata"]["labels"].items()


def test_one_node_is_enough_and_several_are_used() -> None:
    spread = default().pod["spec"]["topologySpreadConstraints"]
    assert {rule["topologyKey"] for rule in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    assert {rule["whenUnsatisfiable"] for rule in spread} == {"ScheduleAnyway"}
    own = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    assert render({"topologySpreadConstraints": [own]}).pod["spec"]["topologySpreadConstraints"] == [own]
    assert "topologySpreadConstraints" not in render({"topologySpreadConstraints": []}).pod["spec"]


def test_probes_ask_what_the_operator_answers() -> None:
    container = default().container
    assert {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")} == {
        "startup": {"path": "/healthz", "port": "health"},
        "liveness": {"path": "/healthz", "port": "health"},
        "readiness": {"path": "/readyz", "port": "health"},
    }
    assert render({"probes": {"startup": {"failureThreshold": 60}}}).container["startupProbe"] == {
        "httpGet": {"path": "/healthz", "port": "health"},
        "periodSeconds": 2,
        "failureThreshold": 60,
        "timeoutSeconds": 5,
    }


def test_it_has_time_to_write_what_it_knows() -> None:
    assert default().pod["spec"]["terminationGracePeriodSeconds"] > EXIT_SECONDS


def test_what_is_given_for_pods_is_in_them() -> None:
    made = everything()
    spec, container = made.pod["spec"], made.container
    for name in ("imagePullSecrets", "nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert spec[name] == EVERYTHING[name]
        assert made.one("Pod")["spec"][name] == EVERYTHING[name]
    assert container["env"] == EVERYTHING["extraEnv"]
    assert EVERYTHING["extraVolumes"][0] in spec["volumes"]
    assert EVERYTHING["extraVolumeMounts"][0] in container["volumeMounts"]
    assert made.pod["metadata"]["annotations"] == EVERYTHING["podAnnotations"]
    assert made.pod["metadata"]["labels"]["pool"] == "control"
    assert spec["serviceAccountName"] == "robot"


def test_the_test_is_a_hook_and_leaves_nothing_when_it_succeeds() -> None:
    annotations = default().one("Pod")["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "test"
    assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
