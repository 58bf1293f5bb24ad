"""The OpenAI-compatible engine against a real HTTP server of this test, which misbehaves as it is told."""

import asyncio
import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from mora_jobs import api
from mora_jobs.engines.base import Completion, Request
from mora_jobs.engines.openai import EndpointUnavailable, OpenAIEngine
from mora_jobs.engines.pool import EnginePool
from mora_jobs.errors import UserError

Answer = tuple[int, dict[str, str], Any]
HELLO = ({"role": "user", "content": "hello"},)
SAMPLING = api.Sampling(max_tokens=5, temperature=0.5, top_k=9, stop=["END"])
CREDENTIALS = [api.Credential.model_validate({"name": "judge-key", "secretRef": {"name": "s", "key": "k"}})]


class Server(ThreadingHTTPServer):
    """`answer(body, count of requests before)` decides; `seen` holds (headers, body) of all requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: Callable[[dict[str, Any], int], Answer] = lambda body, _: complete(body)
        self.seen: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.lock = threading.Lock()
        self.busy = self.most_busy = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            count = len(self.server.seen)
            self.server.seen.append(({key.lower(): value for key, value in self.headers.items()}, body))
            self.server.busy += 1
            self.server.most_busy = max(self.server.most_busy, self.server.busy)
        status, headers, answer = self.server.answer(body, count)
        with self.server.lock:
            self.server.busy -= 1
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def complete(body: dict[str, Any], n: int | None = None) -> Answer:
    choices = [
        {"index": i, "finish_reason": "length" if i else "stop", "message": {"content": f"{body['seed']}:{i}"}}
        for i in reversed(range(n or body["n"]))
    ]
    return 200, {}, {"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 3 * len(choices)}}


def refuse(status: int, message: str, **headers: str) -> Answer:
    return status, headers, {"error": {"message": message}}


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def spec(server: Server, **more: Any) -> api.OpenAICompatible:
    return api.OpenAICompatible.model_validate({"baseURL": server.url, "model": "big", "maxConcurrency": 4, **more})


def ask(server: Server, use: Callable[[OpenAIEngine], Any], waits: list[float] | None = None, **more: Any) -> Any:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    async def whole() -> Any:
        engine = OpenAIEngine(spec(server, **more), CREDENTIALS, sleep=sleep)
        try:
            return await use(engine)
        finally:
            await engine.close()

    return asyncio.run(whole())


def generate(server: Server, n: int = 3, **more: Any) -> Completion:
    return ask(server, lambda engine: engine.generate(Request("a", HELLO, n, 100), SAMPLING), **more)


def test_request_and_answer(server: Server) -> None:
    completion = generate(server)
    assert [(each.text, each.tokens, each.finish) for each in completion.samples] == [
        ("100:0", 3, "Stop"),
        ("100:1", 3, "Length"),
        ("100:2", 3, "Length"),
    ]
    assert completion.prompt_tokens == 7
    assert server.seen[0][1] == {
        "model": "big",
        "messages": [{"role": "user", "content": "hello"}],
        "n": 3,
        "temperature": 0.5,
        "top_k": 9,
        "stop": ["END"],
        "seed": 100,
        "max_tokens": 5,
    }
    assert "authorization" not in server.seen[0][0]


def test_a_server_that_ignores_n_is_asked_again_with_other_seeds(server: Server) -> None:
    server.answer = lambda body, _: complete(body, n=1)
    assert [each.text for each in generate(server, n=4).samples] == ["100:0", "101:0", "102:0", "103:0"]


def test_more_samples_than_one_request_may_have(server: Server) -> None:
    assert len(generate(server, n=200).samples) == 200
    assert [body["n"] for _, body in server.seen] == [128, 72]
    assert server.seen[1][1]["seed"] == 228


def test_key_is_sent_and_never_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MORA_CREDENTIAL_JUDGE_KEY", "sk-secret\n")
    server.answer = lambda body, count: complete(body) if count else refuse(503, "later")
    with caplog.at_level("DEBUG"):
        generate(server, credentialsRef="judge-key")
    assert server.seen[0][0]["authorization"] == "Bearer sk-secret"
    assert "retry 1" in caplog.text
    assert "sk-secret" not in caplog.text


def test_missing_key_is_the_users_mistake(server: Server) -> None:
    with pytest.raises(UserError, match=r"the credential 'judge-key' is not there.*MORA_CREDENTIAL_JUDGE_KEY"):
        generate(server, credentialsRef="judge-key")
    assert server.seen == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_may_pass_is_retried(server: Server, status: int) -> None:
    server.answer = lambda body, count: complete(body) if count >= 3 else refuse(status, "busy")
    waits: list[float] = []
    assert len(generate(server, waits=waits).samples) == 3
    assert len(waits) == 3
    assert 0.25 <= waits[0] <= 0.5
    assert 1 <= waits[2] <= 2


def test_retry_after_is_honoured(server: Server) -> None:
    answers = ["7", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"]
    server.answer = lambda body, n: complete(body) if n >= 3 else refuse(429, "slow", **{"Retry-After": answers[n]})
    waits: list[float] = []
    generate(server, waits=waits)
    assert waits[:2] == [7.0, 0.0]
    assert 1 <= waits[2] <= 2


def test_a_server_that_stays_away(server: Server) -> None:
    server.answer = lambda *_: refuse(503, "down for maintenance")
    with pytest.raises(EndpointUnavailable, match=r"answered 503: down for maintenance .after 8 retries"):
        generate(server)


def test_a_time_limit_is_retried(server: Server) -> None:
    gate = threading.Event()

    def slow(body: dict[str, Any], count: int) -> Answer:
        if count == 0:
            gate.wait(10)
        else:
            gate.set()
        return complete(body)

    server.answer = slow
    waits: list[float] = []
    assert len(generate(server, waits=waits, timeoutSeconds=1).samples) == 3
    assert len(waits) == 1


def test_nobody_listens() -> None:
    engine = OpenAIEngine(
        api.OpenAICompatible.model_validate({"baseURL": "http://127.0.0.1:9/v1", "model": "x"}),
        sleep=lambda _: asyncio.sleep(0),
    )
    with pytest.raises(EndpointUnavailable, match="ConnectError"):
        asyncio.run(engine.generate(Request("a", HELLO, 1, 0), SAMPLING))


@pytest.mark.parametrize(
    ("status", "what"),
    [
        (401, "the server refuses the key .401: no.; check credentialsRef"),
        (403, "the server refuses the key .403: no.; check credentialsRef"),
        (404, "the server answered 404: no; baseURL goes up to and without /chat/completions"),
    ],
)
def test_refusals_that_are_the_users_to_solve(server: Server, status: int, what: str) -> None:
    server.answer = lambda *_: refuse(status, "no")
    with pytest.raises(UserError, match=what):
        generate(server)
    assert len(server.seen) == 1


def test_something_else_answers(server: Server) -> None:
    server.answer = lambda *_: (200, {}, b"<html>welcome</html>")
    with pytest.raises(UserError, match="answered no chat completion"):
        generate(server)


def test_a_refused_prompt_fails_alone(server: Server) -> None:
    def answer(body: dict[str, Any], _: int) -> Answer:
        return refuse(400, "too long") if body["messages"][0]["content"] == "long" else complete(body)

    server.answer = answer
    requests = [Request(text, ({"role": "user", "content": text},), 1, 0) for text in ("a", "long", "b")]
    with EnginePool(spec(server), api.Engine(), SAMPLING) as pool:
        found = {each.id: each.error for each in pool.generate(requests)}
    assert found == {"a": None, "long": "the server refuses the prompt: too long", "b": None}


def test_when_every_request_is_refused_it_is_not_the_prompts(server: Server) -> None:
    server.answer = lambda *_: refuse(400, "top_k is not supported")
    requests = (Request(str(i), HELLO, 1, i) for i in range(1000))
    with pytest.raises(UserError, match=r"refuses every request .400: top_k is not supported"):  # noqa: SIM117
        with EnginePool(spec(server), api.Engine(), SAMPLING) as pool:
            list(pool.generate(requests))
    assert len(server.seen) < 50


def test_newer_name_of_the_length(server: Server) -> None:
    def answer(body: dict[str, Any], _: int) -> Answer:
        if "max_tokens" in body:
            return refuse(400, "Unsupported parameter: use 'max_completion_tokens' instead")
        return complete(body)

    server.answer = answer
    assert len(generate(server).samples) == 3
    assert server.seen[1][1]["max_completion_tokens"] == 5


def test_the_pool_streams_many_requests_at_the_allowed_concurrency(server: Server) -> None:
    four = threading.Barrier(4)

    def answer(body: dict[str, Any], count: int) -> Answer:
        if count < 4:
            four.wait(30)  # none of the first four is answered before the fourth has come
        return complete(body)

    server.answer = answer
    requests = (Request(f"p{i}", HELLO, 2, i * 10) for i in range(200))
    with EnginePool(spec(server), api.Engine(), SAMPLING) as pool:
        found = {each.id: each for each in pool.generate(requests)}
        assert list(pool.generate([])) == []
    assert len(found) == 200
    assert found["p7"].samples[1].text == "70:1"
    assert server.most_busy == 4


def test_a_pool_of_a_server_that_stays_away(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mora_jobs.engines.openai.RETRIES", 1)
    server.answer = lambda *_: refuse(500, "broken")
    with (
        pytest.raises(EndpointUnavailable, match="500: broken"),
        EnginePool(spec(server), api.Engine(), SAMPLING) as pool,
    ):
        list(pool.generate([Request("a", HELLO, 1, 0)]))


def top(*tokens: tuple[str, float]) -> dict[str, Any]:
    content = [{"token": "x", "top_logprobs": [{"token": t, "logprob": math.log(p)} for t, p in tokens]}]
    return {"choices": [{"message": {"content": "x"}, "logprobs": {"content": content}}]}


@pytest.mark.parametrize(
    ("answer", "options", "expected"),
    [
        (top(("1", 0.5), ("2", 0.2), ("Sure", 0.1)), ["1", "2"], [0.5, 0.2]),
        (top(("1", 0.5), (" 1", 0.25)), ["1", "2"], [0.75, 0.0]),
        (top(("Sure", 0.9)), ["1", "2"], None),
        (top(("1", 0.9)), ["1", "10"], None),
        (top(("1", 0.9), ("10", 0.05)), ["1", "10"], [0.9, 0.05]),
        ({"choices": [{"message": {"content": "4"}}]}, ["1", "2"], None),
        ({"choices": [{"message": {"content": "4"}, "logprobs": None}]}, ["1", "2"], None),
    ],
)
def test_option_logprobs(
    server: Server, answer: dict[str, Any], options: list[str], expected: list[float] | None
) -> None:
    server.answer = lambda *_: (200, {}, answer)
    found = ask(server, lambda engine: engine.option_logprobs(HELLO, options))
    assert (found if found is None else [math.exp(each) for each in found]) == (
        expected if expected is None else pytest.approx(expected)
    )
    assert server.seen[0][1] | {"messages": 0} == {
        "model": "big",
        "messages": 0,
        "temperature": 1.0,
        "logprobs": True,
        "top_logprobs": 20,
        "max_tokens": 1,
    }


def test_a_server_without_logprobs_is_asked_no_more(server: Server) -> None:
    server.answer = lambda *_: refuse(400, "logprobs are not supported")

    async def twice(engine: OpenAIEngine) -> list[Any]:
        return [await engine.option_logprobs(HELLO, ["1", "2"]) for _ in range(2)]

    assert ask(server, twice) == [None, None]
    assert [body["top_logprobs"] for _, body in server.seen] == [20, 5]


def test_works_over_any_transport() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=complete(json.loads(request.content))[2])

    engine = OpenAIEngine(
        api.OpenAICompatible.model_validate({"baseURL": "https://user:pw@example.com/v1/", "model": "m"}),
        transport=httpx.MockTransport(answer),
    )
    assert "pw" not in engine.where
    assert len(asyncio.run(engine.generate(Request("a", HELLO, 2, 0), SAMPLING)).samples) == 2
