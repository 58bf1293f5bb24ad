"""The reporter against a real HTTP server that answers as it is told."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mora_jobs import api
from mora_jobs.api import Desired, Exit, ExitClass
from mora_jobs.progress.reporter import Reporter
from mora_jobs.progress.wire import Wire
from mora_jobs.stopping import Stopped

DONE = Exit(class_=ExitClass.SUCCESS, reason="Complete")


class Listener:
    """An endpoint; `statuses` are given to the next requests, then 200. `got` holds the reports with their arrival."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.desired = "Continue"
        self.got: list[dict] = []
        self.times: list[float] = []
        self.tokens: list[str] = []
        self.arrived = threading.Condition()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with listener.arrived:
                    status = listener.statuses.pop(0) if listener.statuses else 200
                    listener.tokens.append(self.headers.get("Authorization", ""))
                    if status == 200:
                        listener.got.append(json.loads(body))
                        listener.times.append(time.monotonic())
                    listener.arrived.notify_all()
                answer = json.dumps({"desired": listener.desired}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/report"

    def wait_for(self, condition) -> None:
        with self.arrived:
            assert self.arrived.wait_for(condition, timeout=60)


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_many_updates_become_few_reports_and_the_last_comes_at_once(listener):
    seconds = itertools.count()
    reporter = Reporter(Wire(listener.url), interval=3600, final_seconds=9000, clock=lambda: float(next(seconds)))
    listener.wait_for(lambda: len(listener.got) == 1)
    assert listener.got == [{"metrics": [], "outputs": []}], "the first one says that the driver has started"
    for done in range(1, 1001):
        reporter.update(done, 1000, stage="Rollouts", failed=2, metrics={"loss": 1 / done, "bad": float("nan")})
    assert reporter.finish({"rollouts": {"samples": 4000}}, DONE)
    assert len(listener.got) == 2
    last = listener.got[-1]
    assert last["progress"]["completed"] == 1000
    assert last["progress"]["progressPercentage"] == 100
    assert last["progress"]["stage"] == "Rollouts"
    assert last["progress"]["failed"] == 2
    assert last["result"] == {"rollouts": {"samples": 4000}}
    assert last["exit"]["reason"] == "Complete"
    assert [metric["name"] for metric in last["metrics"]] == ["loss", "prompts_per_second"], "NaN is no figure"
    api.ProgressReport.model_validate(last)


def test_what_is_not_given_again_is_kept(listener):
    reporter = Reporter(Wire(listener.url), interval=3600)
    outputs = [api.OutputRef(name="rollouts", uri="file:///r", items=3)]
    reporter.update(1, 2, status={"rollouts": {"samples": 1}}, metrics={"a": 1.0})
    reporter.update(2, 2, metrics={"b": 2.0})
    reporter.finish(None, DONE, outputs)
    last = listener.got[-1]
    assert last["result"] == {"rollouts": {"samples": 1}}
    assert {"a", "b"} <= {metric["name"] for metric in last["metrics"]}
    assert last["outputs"] == [{"name": "rollouts", "uri": "file:///r", "items": 3}]


def test_stop_is_heard_by_the_next_update_and_a_heartbeat_asks_for_it(listener):
    reporter = Reporter(Wire(listener.url), interval=0.01, heartbeat=0.05)
    listener.desired = "Checkpoint"
    listener.wait_for(lambda: len(listener.got) >= 3)
    reporter.update(1, 2)
    assert reporter.desired() is Desired.CHECKPOINT
    listener.desired = "Stop"
    seen = len(listener.got)
    listener.wait_for(lambda: len(listener.got) >= seen + 2)
    with pytest.raises(Stopped):
        reporter.update(2, 2)
    assert reporter.finish(None, DONE)


@pytest.mark.parametrize("statuses", [[503, 500, 429], [401, 403], [404]])
def test_the_last_report_is_repeated_until_it_is_acknowledged(listener, statuses, monkeypatch):
    reporter = Reporter(Wire(listener.url), interval=3600)
    listener.wait_for(lambda: listener.got)
    monkeypatch.setattr("mora_jobs.progress.reporter.time.sleep", lambda seconds: None)
    listener.statuses = list(statuses)
    assert reporter.finish(None, DONE)
    assert listener.got[-1]["exit"]["class"] == "Success"


def test_a_report_that_is_refused_for_good_is_not_repeated(listener):
    reporter = Reporter(Wire(listener.url), interval=3600)
    listener.wait_for(lambda: listener.got)
    listener.statuses = [400]
    assert not reporter.finish(None, DONE)
    assert len(listener.tokens) == 2


def test_an_endpoint_that_is_not_there_neither_stops_nor_slows_the_job():
    reporter = Reporter(Wire("http://127.0.0.1:9/"), interval=0.001, final_seconds=0.2)
    began = time.monotonic()
    for done in range(10_000):
        reporter.update(done, 10_000)
    assert not reporter.finish(None, DONE)
    assert time.monotonic() - began < 30
    assert reporter.desired() is Desired.CONTINUE


def test_without_an_endpoint_there_is_nothing_but_the_request_to_stop():
    reporter = Reporter(Wire.from_environment({}))
    reporter.update(1, 2)
    reporter.stop()
    with pytest.raises(Stopped):
        reporter.update(2, 2)
    assert reporter.finish(None, DONE)


def test_a_rotated_token_is_read_again(listener, tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    reporter = Reporter(Wire(listener.url, str(token)), interval=3600)
    listener.wait_for(lambda: listener.tokens == ["Bearer first"])
    token.write_text("second\n")
    reporter.finish(None, DONE)
    assert listener.tokens == ["Bearer first", "Bearer second"]
