"""Alerts and dashboard speak of metrics that the operator has, with labels and values that they take."""

import json
import re
from collections.abc import Iterator

import pytest
from chart import CHART, Object, default, everything, render
from prometheus_client.parser import text_string_to_metric_families

from mora_jobs.api import Phase
from mora_operator.packed import PackedJob
from mora_operator.plan.rayjobs import FailureClass
from mora_operator.resources import JobKey
from mora_operator.telemetry.metrics import Metrics

SCRAPED = {"job", "namespace", "pod"}
VALUES = {
    "phase": {phase.value for phase in Phase},
    "class": {each.value for each in FailureClass},
    "wasted": {"true", "false"},
}
NAME = re.compile(r"\b(?:mora|process)_[a-z_]+\b")
SELECTION = re.compile(r"\b((?:mora|process)_[a-z_]+)\{([^}]*)\}")
MATCHER = re.compile(r"(\w+)(=~|!~|!=|=)\"([^\"]*)\"")


class OneJob:
    def jobs(self) -> list[PackedJob]:
        key = JobKey("AlignmentJob", "team", "align")
        return [PackedJob(key, "u", "1", False, "Running", 0.5, 0.2, (), b"{}")]


@pytest.fixture(scope="module")
def samples() -> dict[str, set[str]]:
    """Labels of every series that the operator shows, by its name."""
    metrics = Metrics()
    metrics.leading(lambda: True)
    metrics.watch(lambda: 0.0, OneJob())
    metrics.request("GET", "pods", 200)
    metrics.report(200)
    metrics.reconciled.labels("done").inc()
    metrics.changed({}, {"attemptHistory": [{"index": 1, "class": "Infra"}], "usage": {"gpuSeconds": 1}})
    families = text_string_to_metric_families(metrics.text().decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def alerts() -> list[Object]:
    rule = render({"metrics": {"prometheusRule": {"enabled": True}}}).one("PrometheusRule")
    return [alert for group in rule["spec"]["groups"] for alert in group["rules"]]


def dashboard() -> Object:
    found: Object = json.loads(everything().one("ConfigMap")["data"]["mora-operator.json"])
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Every expression, and where it stands."""
    for alert in alerts():
        yield alert["alert"], alert["expr"]
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def test_every_query_asks_for_what_there_is(samples: dict[str, set[str]]) -> None:
    asked = list(queries())
    assert len(asked) > 30
    for where, expression in asked:
        names = set(NAME.findall(re.sub(r'"[^"]*"', '""', expression)))
        assert names <= set(samples), where
        for name, selection in SELECTION.findall(expression):
            matchers = MATCHER.findall(selection)
            assert "job" in {label for label, _, _ in matchers}, f"{where} mixes installations"
            for label, how, value in matchers:
                assert label in samples[name] | SCRAPED, where
                if how == "=" and label in VALUES:
                    assert value in VALUES[label], where


def test_the_dashboard_shows_every_metric(samples: dict[str, set[str]]) -> None:
    shown = {
        name for panel in dashboard()["panels"] for target in panel["targets"] for name in NAME.findall(target["expr"])
    }
    own = {name for name in samples if name.startswith("mora_") and not name.endswith(("_sum", "_count", "_created"))}
    assert own <= shown


def test_what_the_dashboard_asks_for_can_be_chosen() -> None:
    board = dashboard()
    variables = {each["name"] for each in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps(board["panels"])))
    assert used == variables == {"datasource", "job", "namespace"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def test_panels_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    cells = [
        (x, y) for each in places for x in range(each["x"], each["x"] + each["w"]) for y in range(each["y"], each["y"] + each["h"])
    ]  # fmt: skip
    assert len(cells) == len(set(cells))


def test_alerts_are_those_that_may_be_left_out() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = schema["properties"]["metrics"]["properties"]["prometheusRule"]["properties"]["disabled"]["items"]["enum"]
    assert known == [alert["alert"] for alert in alerts()]


def test_alerts_say_what_is_wrong_and_how_bad_it_is() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        assert set(alert["annotations"]) == {"summary", "description"}
        assert 'job="mora-operator-metrics"' in alert["expr"]
        assert "$JOB" not in str(alert)
        assert "$NAMESPACE" not in str(alert)


def test_alerts_can_be_labelled_left_out_and_added_to() -> None:
    groups = {group["name"]: group["rules"] for group in everything().one("PrometheusRule")["spec"]["groups"]}
    assert "MoraQueueSlow" not in [alert["alert"] for alert in groups["mora-operator"]]
    assert {alert["labels"]["team"] for alert in groups["mora-operator"] + groups["mora-jobs"]} == {"ml"}
    assert groups["mora-additional"] == [{"alert": "Own", "expr": "vector(1)"}]
    every = [alert["alert"] for alert in alerts()]
    bare = render({"metrics": {"prometheusRule": {"enabled": True, "disabled": every}}}).one("PrometheusRule")
    assert [group["rules"] for group in bare["spec"]["groups"]] == [[], []]


def test_the_service_monitor_finds_the_metrics() -> None:
    made = everything()
    spec = made.one("ServiceMonitor")["spec"]
    service = made.one("Service", "mora-operator-metrics")
    assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    others = [each for each in made.of("Service") if each is not service]
    assert not any(spec["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items() for each in others)
    assert spec["namespaceSelector"] == {"matchNames": ["mora-system"]}
    (endpoint,) = spec["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert endpoint["honorLabels"] is True, "a job's metrics bear the job's namespace"
    assert made.one("ServiceMonitor")["metadata"]["labels"]["release"] == "prometheus"


def test_each_replica_is_scraped() -> None:
    assert default().one("Service", "mora-operator-metrics")["spec"]["clusterIP"] == "None"
