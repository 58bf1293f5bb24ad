"""The http reward against a real server on localhost: batches, retries, refusals."""

import email.utils
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mora_jobs import api
from mora_jobs.errors import UserError
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.http import HttpReward, RewardServerError
from mora_jobs.rewards.load import make

ITEMS = [Item(f"p{i}#0", f"prompt {i}", "y" * i, {"n": i, "gone": float("nan")}) for i in range(5)]
Answer = tuple[int, dict[str, str], str]


class Server:
    """Answers each POST by the next of `script`, and by `rate` once that is used up."""

    def __init__(self) -> None:
        self.script: list[Answer | float] = []
        self.rate: Callable[[dict], list] = lambda item: len(item["response"])
        self.requests: list[dict] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append(body)
                outer.headers.append(dict(self.headers))
                step = outer.script.pop(0) if outer.script else None
                if isinstance(step, float):
                    time.sleep(step)
                status, headers, text = step if isinstance(step, tuple) else (200, {}, outer.answer(body))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/rate"

    def answer(self, body: dict) -> str:
        return json.dumps({"scores": [self.rate(item) for item in body["items"]]})


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.02,))
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def http_reward(server: Server, **spec: object) -> tuple[HttpReward, list[float]]:
    delays: list[float] = []
    return HttpReward("rated", api.HttpReward(url=server.url, **spec), sleep=delays.append), delays


def test_batches_carry_everything_and_null_is_a_missing_score(server):
    server.rate = lambda item: None if item["fields"]["n"] == 3 else item["fields"]["n"] / 2
    reward, _ = http_reward(server, batch_size=2)
    assert reward.score(ITEMS) == [0.0, 0.5, 1.0, None, 2.0]
    assert [len(request["items"]) for request in server.requests] == [2, 2, 1]
    first = {"id": "p0#0", "prompt": "prompt 0", "response": "", "fields": {"n": 0, "gone": None}}
    assert server.requests[0]["items"][0] == first
    reward.close()


def test_busy_and_broken_servers_are_asked_again_with_growing_pauses(server):
    server.script = [(503, {}, "busy"), (500, {}, ""), (429, {}, "slow down")]
    reward, delays = http_reward(server)
    assert reward.score(ITEMS) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert len(server.requests) == 4
    assert all(
        low <= delay <= high for delay, (low, high) in zip(delays, [(0.25, 0.5), (0.5, 1), (1, 2)], strict=True)
    )


def test_retry_after_is_obeyed_in_both_forms(server):
    date = email.utils.formatdate(time.time() + 90, usegmt=True)
    server.script = [
        (429, {"Retry-After": "7"}, ""),
        (503, {"Retry-After": date}, ""),
        (429, {"Retry-After": "soon"}, ""),
    ]
    reward, delays = http_reward(server)
    reward.score(ITEMS)
    assert delays[0] == 7
    assert 80 < delays[1] <= 90
    assert delays[2] < 3


def test_a_slow_answer_counts_as_none(server):
    server.script = [1.5]
    reward, delays = http_reward(server, timeout_seconds=1)
    assert reward.score(ITEMS[:1]) == [0.0]
    assert len(delays) == 1


def test_retries_end(server):
    server.script = [(502, {}, "bad gateway")] * 9
    reward, delays = http_reward(server, max_retries=2)
    with pytest.raises(RewardServerError, match=r"reward 'rated' .*answered 502: 'bad gateway' \(after 2 retries\)"):
        reward.score(ITEMS)
    assert (len(server.requests), len(delays)) == (3, 2)


def test_a_server_that_is_not_there_is_no_mistake_of_the_manifest():
    reward = HttpReward("rated", api.HttpReward(url="http://127.0.0.1:9", max_retries=1), sleep=lambda _: None)
    with pytest.raises(RewardServerError, match="Connect"):
        reward.score(ITEMS)


@pytest.mark.parametrize(
    ("answer", "message"),
    {
        "wrong length": ((200, {}, '{"scores": [1]}'), "returned 1 scores for 5 responses"),
        "no json": ((200, {}, "<html>"), "answered no JSON: '<html>'"),
        "other json": ((200, {}, "[1, 2, 3, 4, 5]"), "answered '.1, 2, 3, 4, 5.'"),
        "nan": ((200, {}, '{"scores": [1, NaN, 2, 3, 4]}'), r"returned nan at index 1 \(item p1#0\)"),
        "text": ((200, {}, '{"scores": [1, "2", 2, 3, 4]}'), "returned '2' at index 1"),
        "forbidden": ((403, {}, "who are you?"), "answered 403: 'who are you"),
        "no such page": ((404, {}, ""), "answered 404"),
    }.values(),
)
def test_a_wrong_answer_is_one_line_and_not_retried(server, answer, message):
    server.script = [answer]
    reward, delays = http_reward(server)
    with pytest.raises(UserError, match=rf"^reward 'rated' \(http://.*\): {message}"):
        reward.score(ITEMS)
    assert not delays


def test_the_credential_is_sent_and_never_shown(server, monkeypatch):
    monkeypatch.setenv("MORA_CREDENTIAL_RATER", "s3cret")
    server.script = [(401, {}, "")]
    spec = api.Reward(name="rated", http=api.HttpReward(url=server.url, credentials_ref="rater"))
    credential = api.Credential(name="rater", secret_ref={"name": "x", "key": "y"})
    reward = make(spec, credentials=[credential])
    with pytest.raises(UserError) as error:
        reward.score(ITEMS)
    assert server.headers[0]["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in str(error.value)
    monkeypatch.delenv("MORA_CREDENTIAL_RATER")
    with pytest.raises(UserError, match=r"the credential .rater. is not there; .*MORA_CREDENTIAL_RATER"):
        make(spec, credentials=[credential])
