"""What is shown of a status, and how often lines are printed where there is no terminal."""

import io

import pytest
from rich.console import Console

from mora_jobs.local.display import Display, counts, detail, duration, jobs_table
from mora_jobs.local.summary import results


@pytest.mark.parametrize(
    ("seconds", "want"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1:00 min"), (187, "3:07 min"), (3600, "1:00 h"), (93784, "26:03 h")],
)
def test_durations(seconds, want):
    assert duration(seconds) == want


RUNNING = {
    "phase": "Running",
    "progress": {
        "completed": 12,
        "total": 64,
        "unit": "Prompts",
        "stage": "Rollouts",
        "estimatedRemainingSeconds": 16,
    },
    "metrics": [{"name": "prompts_per_second", "value": "3.2501"}],
}


@pytest.mark.parametrize(
    ("status", "want"),
    [
        (RUNNING, "3.25/s, 16 s left"),
        (RUNNING | {"metrics": [{"name": "prompts_per_second", "value": "0.05"}]}, "3/min, 16 s left"),
        (RUNNING | {"metrics": []}, "16 s left"),
        ({"phase": "Running"}, ""),
        (
            {"phase": "Complete", "startTime": "2030-01-01T00:00:00Z", "completionTime": "2030-01-01T00:02:05Z"},
            "in 2:05 min",
        ),
        ({"phase": "Failed", "conditions": [{"type": "Ready", "message": "no memory"}]}, "no memory"),
    ],
)
def test_what_is_said_about_a_job(status, want):
    assert detail(status) == want


def test_counts():
    assert counts(RUNNING["progress"]) == "12/64 prompts"
    assert counts(RUNNING["progress"] | {"failed": 2}) == "12/64 prompts, 2 failed"
    assert counts({}) == ""


class Shown:
    """A record with a status that the test changes."""

    def __init__(self) -> None:
        self.status = {"phase": "Pending"}

    def snapshot(self):
        return {"status": self.status}


def test_without_a_terminal_a_line_comes_with_every_stage_and_now_and_then():
    text, record, time = io.StringIO(), Shown(), [0.0]
    with Display({"RolloutJob/one": record}, Console(file=text, width=80), clock=lambda: time[0]) as display:
        for second in range(100):
            time[0] = float(second)
            progress = RUNNING["progress"] | {
                "completed": second % 50,
                "stage": "Rollouts" if second < 50 else "Scores",
            }
            record.status = RUNNING | {
                "progress": progress,
                "metrics": [{"name": "prompts_per_second", "value": str(second)}],
            }
            display.refresh()
            display.refresh()
        record.status = {
            "phase": "Complete",
            "startTime": "2030-01-01T00:00:00Z",
            "completionTime": "2030-01-01T00:01:40Z",
        }
    lines = text.getvalue().splitlines()
    assert [line.split(" ", 1)[1].split(",")[0] for line in lines] == [
        "RolloutJob/one Running Rollouts 0/64 prompts 0/min",
        "RolloutJob/one Running Rollouts 30/64 prompts 30/s",
        "RolloutJob/one Running Scores 0/64 prompts 50/s",
        "RolloutJob/one Running Scores 30/64 prompts 80/s",
        "RolloutJob/one Complete in 1:40 min",
    ]


def test_the_main_results_of_each_kind():
    change = {"before": "0.17", "after": "0.237", "ci": ["0.017", "0.120"]}
    rewrite = {
        "phase": "Complete",
        "rewrites": {"prompts": {"total": 20}, "accepted": 18},
        "gain": {"balance": change, "hypervolume": change, "joint": {"before": "0", "after": "0.2"}},
    }
    assert results({"kind": "RewriteJob", "status": rewrite}) == [
        "18 of 20 single-reward prompts rewritten",
        "balance 0.17 → 0.237 [+0.017, +0.12], hypervolume 0.17 → 0.237 [+0.017, +0.12], joint 0 → 0.2",
    ]
    align = {
        "phase": "Complete",
        "objectives": [
            {"name": "helpful", "points": "5.7", "ci": ["-1", "12"]},
            {"name": "harmless", "points": "-4.4"},
        ],
        "pareto": {"front": [{}, {}, {}], "hypervolume": "0.19712", "knee": "w3"},
    }
    assert results({"kind": "AlignmentJob", "status": align}) == [
        "points of 100: helpful +5.7 [-1, +12], harmless -4.4",
        "front of 3 points, hypervolume 0.197, knee w3",
    ]
    assert results({"kind": "RolloutJob", "status": {"phase": "Failed", "conditions": []}}) == [""]


@pytest.mark.parametrize(
    ("width", "want"),
    [
        (
            80,
            ["RolloutJob/quickstart-rollout  Rollouts   12/64 prompts, 3.25/s, 16 s left", "Waiting    waits for it"],
        ),
        (100, ["RolloutJob/quickstart-rollout  Running Rollouts  ━━╸             12/64 prompts, 3.25/s, 16 s left"]),
    ],
)
def test_names_and_figures_fit_on_any_terminal(width, want):
    text = io.StringIO()
    waiting = {"phase": "Waiting", "conditions": [{"type": "Ready", "message": "waits for it"}]}
    jobs = {"RolloutJob/quickstart-rollout": RUNNING, "RewriteJob/quickstart-rewrite": waiting}
    Console(file=text, width=width).print(jobs_table(jobs, width))
    for line in want:
        assert line in text.getvalue()
