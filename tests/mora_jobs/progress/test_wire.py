"""What a report weighs."""

import json

from mora_jobs.api import Exit, ExitClass, Metric, ProgressReport
from mora_jobs.api.progress import MAX_BODY_BYTES, URL_VARIABLE
from mora_jobs.progress.wire import Wire, fit

EXIT = Exit(class_=ExitClass.SUCCESS, reason="Complete")


def report(points: int, filling: int = 0) -> ProgressReport:
    front = [
        {"name": f"p{i}", "values": {"helpful": "0.123456"}, "checkpointURI": "s3://b/" + "x" * 500}
        for i in range(points)
    ]
    result = {"pareto": {"front": front, "knee": "p7"}, "objectives": [{"name": "x" * filling}]}
    return ProgressReport(metrics=[Metric(name=f"m{i}", value="1") for i in range(64)], result=result, exit=EXIT)


def test_a_report_that_fits_is_sent_whole():
    body = json.loads(fit(report(8)))
    assert len(body["metrics"]) == 64
    assert len(body["result"]["pareto"]["front"]) == 8


def test_a_long_one_loses_metrics_then_points_but_never_the_knee_nor_how_it_ended():
    body = fit(report(64, 40_000))
    assert len(body) <= MAX_BODY_BYTES
    value = json.loads(body)
    names = [point["name"] for point in value["result"]["pareto"]["front"]]
    assert "p7" in names
    assert len(names) == 34, "every other one, the ends and the knee"
    assert len(value["metrics"]) == 8
    assert value["exit"]["reason"] == "Complete"


def test_the_result_that_cannot_fit_is_left_to_the_artifacts():
    value = json.loads(fit(report(64, 80_000)))
    assert "objectives" not in value["result"]
    assert len(value["result"]["pareto"]["front"]) == 2
    assert value["exit"]["reason"] == "Complete"


def test_no_address_no_wire():
    assert Wire.from_environment({}) is None
    assert Wire.from_environment({URL_VARIABLE: "https://operator:8443/x"}).url == "https://operator:8443/x"
