"""Judges: the expected level from log-probabilities, the written level without them, nothing where neither is there."""

import json
import math
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mora_jobs import api
from mora_jobs.engines.base import Completion, Sample
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.judge import JudgeReward, expectation, labels, parse
from mora_jobs.rewards.load import make
from mora_jobs.rewards.pool import RewardPool

ITEMS = [Item("a", "How {much}?", "Two."), Item("b", "Why?", "Because."), Item("c", "When?", "Now.")]


class Scripted:
    """Stands for an engine pool that knows what to say about each user text; it records what it was asked."""

    def __init__(self, logprobs: dict[str, list[float]], answers: dict[str, str]) -> None:
        self.tables, self.texts, self.asked = logprobs, answers, []

    def _find(self, table, messages):
        self.asked.append(messages[-1]["content"])
        return next((value for key, value in table.items() if key in messages[-1]["content"]), None)

    def option_logprobs(self, prompts, options):
        return [self._find(self.tables, messages) for messages in prompts]

    def generate(self, requests):
        for request in reversed(list(requests)):  # pools answer in any order
            text = self._find(self.texts, request.messages)
            samples = () if text is None else (Sample(text, 1, "Stop"),)
            yield Completion(request.id, 1, samples, None if samples else "too long")


def judge(engine: Scripted, levels=(1, 2, 3, 4, 5)) -> JudgeReward:
    spec = api.JudgeReward(model=api.ModelRef(uri="file:///m"), rubric="5 is a {good} answer.", levels=list(levels))
    return JudgeReward("rated", spec, judge=engine)


def test_the_score_is_the_expected_level():
    log = [math.log(p) for p in (0.02, 0.02, 0.02, 0.02, 0.12)]  # mass on other tokens does not count
    reward = judge(
        Scripted({"How": log, "Why": [-math.inf, -800.0, -801.0, -math.inf, -math.inf], "When": [-math.inf] * 5}, {})
    )
    scores = reward.score(ITEMS)
    assert scores[0] == pytest.approx((0.02 * 10 + 0.12 * 5) / 0.2)
    assert scores[1] == pytest.approx((2 + 3 / math.e) / (1 + 1 / math.e))  # no underflow
    assert scores[2] is None


def test_without_logprobs_the_written_level_counts_and_what_cannot_be_read_is_missing():
    engine = Scripted({"How": [0.0, -50, -50, -50, -50]}, {"Why": "Rating: **4**.", "When": "Hard to say, 2 or 3."})
    reward = judge(engine)
    assert reward.score(ITEMS) == [pytest.approx(1.0), 4.0, None]
    assert judge(Scripted({}, {})).score(ITEMS) == [None, None, None]
    assert reward.score([]) == []


def test_the_judge_sees_rubric_prompt_answer_and_labels():
    engine = Scripted({"How": [0.0] * 10}, {})
    judge(engine, range(1, 11)).score(ITEMS[:1])
    for part in ("5 is a {good} answer.", "How {much}?", "Two.", "A, B, C, D, E, F, G, H, I, J", "J means 10"):
        assert part in engine.asked[0]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([1, 2, 3], ["1", "2", "3"]),
        ([0, 5, 10], ["0", "5", "10"]),
        ([1, 10], ["A", "B"]),
        ([-1, 0, 1], ["-1", "0", "1"]),
    ],
)
def test_labels_never_begin_one_another(levels, expected):
    assert labels(levels) == expected


@pytest.mark.parametrize(
    ("answer", "level"),
    {
        "4": "4", " 4\n": "4", "Rating: 4.": "4", "**4**": "4", "4/5": "4", "4 out of 5": "4", "I give it a 4!": "4", "4, yes 4": "4",
        "": None, "four": None, "3 or 4": None, "44": None, "4.5": None, "-4": None, "v4": None, "7": None,
    }.items(),
)  # fmt: skip
def test_reading_a_level(answer, level):
    assert parse(answer, ["1", "2", "3", "4", "5"]) == level


def test_expectation_needs_some_probability():
    assert expectation([1, 2], [math.nan, 0.0]) is None
    assert expectation([0, 10], [-1.0, -1.0]) == 5.0


def test_a_real_model_on_the_jobs_engine(tiny_model, ray_local):
    spec = api.JudgeReward(
        model=api.ModelRef(uri=tiny_model.as_uri()), rubric="5 is good.", engine=api.Engine(type="Transformers")
    )
    reward = make(api.Reward(name="rated", judge=spec))
    try:
        scores = reward.score(ITEMS)
        assert all(score is not None and 1 < score < 5 for score in scores)
        assert len(set(scores)) == 3
        assert reward.score(ITEMS[:1]) == pytest.approx(scores[:1], abs=1e-4)
    finally:
        reward.close()


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict]]]:
    """A chat completions server whose judge likes short answers; it gives no log-probabilities."""
    asked: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = re.search(r"# Answer\n(.*?)\n", asked[-1]["messages"][-1]["content"]).group(1)
            text = "I would say 5." if len(answer) < 5 else "I cannot rate this."
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 4}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}/v1", asked
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_judge_behind_a_server_in_the_pool(server):
    url, asked = server
    spec = api.JudgeReward(
        open_ai_compatible=api.OpenAICompatible(base_url=url, model="judge"), rubric="Short is good."
    )
    with RewardPool([api.Reward(name="rated", judge=spec)]) as pool:
        assert pool.score(ITEMS) == {"rated": [5.0, None, 5.0]}
    assert {request["model"] for request in asked} == {"judge"}
