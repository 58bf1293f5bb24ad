"""Prometheus' own promtool runs the alerts over series (each fires when it should, and no other one beside it) and reads the dashboard."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from chart import everything, render

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool is installed (apt-get install prometheus)"
)
WELL = {"mora_leader{POD}": "1x400", "mora_leader{OTHER}": "0x400"}


def job(phase: str) -> str:
    """A job's series bears the job's own namespace."""
    return f'mora_job_info{{job="mora-operator-metrics",pod="a",kind="RolloutJob",namespace="team",name="x",phase="{phase}"}}'


# Series (from minute 0, one value a minute), the minute that is looked at, and which alerts fire then.
CASES: dict[str, tuple[dict[str, str], int, set[str]]] = {
    "all is well": (
        {
            "mora_reconciliations_total{POD,result='done'}": "0+60x400",
            "mora_reconciliations_total{POD,result='Conflict'}": "0+60x400",
            "mora_queue_depth{POD}": "3x400",
            "mora_queue_latency_seconds_bucket{POD,le='0.1'}": "0+60x400",
            "mora_queue_latency_seconds_bucket{POD,le='+Inf'}": "0+60x400",
            "mora_api_requests_total{POD,verb='GET',resource='pods',code='200'}": "0+60x400",
            "mora_progress_reports_total{POD,code='200'}": "0+60x400",
            "mora_progress_reports_total{POD,code='410'}": "0+60x400",
            "mora_job_attempts_total{POD,class='App'}": "0+1x400",
            "mora_job_gpu_seconds_total{POD,wasted='false'}": "0+60x400",
            "mora_job_gpu_seconds_total{POD,wasted='true'}": "0+6x400",
            job("Running"): "1x400",
        },
        390,
        set(),
    ),
    "no replica is seen": ({"mora_leader{POD}": "_x400", "mora_leader{OTHER}": "_x400"}, 20, {"MoraOperatorAbsent"}),
    "a replica takes over": ({"mora_leader{POD}": "1x9 0x400", "mora_leader{OTHER}": "0x10 1x400"}, 12, set()),
    "nobody leads": ({"mora_leader{POD}": "0x400"}, 5, {"MoraOperatorLeaderless"}),
    "the queue stands still": (
        {"mora_queue_depth{POD}": "7x400", "mora_reconciliations_total{POD,result='done'}": "5x400"},
        30,
        {"MoraOperatorStuck"},
    ),
    "reconciliations fail": (
        {
            "mora_reconciliations_total{POD,result='done'}": "0+10x400",
            "mora_reconciliations_total{POD,result='Transient'}": "0+2x400",
        },
        60,
        {"MoraReconciliationsFail"},
    ),
    "jobs wait": (
        {
            "mora_queue_latency_seconds_bucket{POD,le='5'}": "0+1x400",
            "mora_queue_latency_seconds_bucket{POD,le='10'}": "0+10x400",
            "mora_queue_latency_seconds_bucket{POD,le='+Inf'}": "0+10x400",
        },
        60,
        {"MoraQueueSlow"},
    ),
    "a right is missing": (
        {"mora_api_requests_total{POD,verb='POST',resource='rayjobs',code='403'}": "0+1x400"},
        60,
        {"MoraRightsMissing"},
    ),
    "the API server fails": (
        {
            "mora_api_requests_total{POD,verb='GET',resource='pods',code='200'}": "0+50x400",
            "mora_api_requests_total{POD,verb='GET',resource='pods',code='0'}": "0+5x400",
        },
        60,
        {"MoraApiServerFails"},
    ),
    "reports are refused": (
        {
            "mora_progress_reports_total{POD,code='200'}": "0+50x400",
            "mora_progress_reports_total{POD,code='401'}": "0+10x400",
        },
        60,
        {"MoraReportsRefused"},
    ),
    "a job is stalled": ({job("Stalled"): "1x400"}, 20, {"MoraJobStalled"}),
    "a job is stalled for a moment": ({job("Stalled"): "1x5 _x400"}, 20, set()),
    "a job gets no cluster": ({job("Provisioning"): "1x400"}, 70, {"MoraJobProvisioningForLong"}),
    "a job has failed": ({job("Running"): "1x100 _x300", job("Failed"): "_x100 1x300"}, 110, {"MoraJobFailed"}),
    "a job failed long ago": ({job("Failed"): "1x400"}, 200, set()),
    "the infrastructure fails": (
        {"mora_job_attempts_total{POD,class='Infra'}": "0+1x400"},
        70,
        {"MoraInfrastructureFails"},
    ),
    "GPU time is wasted": (
        {
            "mora_job_gpu_seconds_total{POD,wasted='false'}": "0+100x400",
            "mora_job_gpu_seconds_total{POD,wasted='true'}": "0+50x400",
        },
        390,
        {"MoraGpuTimeWasted"},
    ),
    "another installation's are not ours": (
        {'mora_leader{job="other-metrics",namespace="mora-system",pod="c"}': "1x400"},
        20,
        set(),
    ),
}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The alerts as a file of Prometheus' own: JSON is YAML."""
    rule = render({"metrics": {"prometheusRule": {"enabled": True}}}).one("PrometheusRule")
    file = tmp_path_factory.mktemp("alerts") / "rules.yaml"
    file.write_text(json.dumps(rule["spec"]))
    return file


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def series(text: str) -> str:
    """The labels that a scrape adds, and quotes as Prometheus wants them."""
    pods = {"POD": "a", "OTHER": "b"}
    for short, pod in pods.items():
        text = text.replace(short, f'job="mora-operator-metrics",namespace="mora-system",pod="{pod}"')
    return text.replace("'", '"')


def test_prometheus_takes_them(rules: Path) -> None:
    promtool("check", "rules", str(rules))


@pytest.mark.parametrize("name", CASES)
def test_what_fires(rules: Path, tmp_path: Path, name: str) -> None:
    own, minute, firing = CASES[name]
    wanted = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(firing)]
    asked = {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": f"{minute}m"}
    test = {
        "interval": "1m",
        "input_series": [{"series": series(name), "values": values} for name, values in (WELL | own).items()],
        "promql_expr_test": [asked | {"exp_samples": wanted}],
    }
    file = tmp_path / "tests.yaml"
    file.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}))
    promtool("test", "rules", str(file))


def test_every_alert_fires_in_one_of_them(rules: Path) -> None:
    named = {alert["alert"] for group in json.loads(rules.read_text())["groups"] for alert in group["rules"]}
    assert set().union(*(firing for _, _, firing in CASES.values())) == named


def test_it_reads_what_the_dashboard_asks(tmp_path: Path) -> None:
    board = json.loads(everything().one("ConfigMap")["data"]["mora-operator.json"])
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    for variable, value in (("$__rate_interval", "5m"), ("$job", ".*"), ("$namespace", ".*")):
        asked = [expression.replace(variable, value) for expression in asked]
    recorded = [{"record": f"dashboard:{i}", "expr": expression} for i, expression in enumerate(asked)]
    file = tmp_path / "dashboard.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]}))
    promtool("check", "rules", str(file))
